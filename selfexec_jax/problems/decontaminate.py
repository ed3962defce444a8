"""Keeping evaluation problems out of training data that comes from elsewhere.

Generated problems are kept apart by splits.py. Here a training example is a few texts (a question, an answer), and
it matches an evaluation problem if one of its texts, or a program in one of them,

  exact     has the same words as the problem's statement or one of its programs
  contains  holds the statement whole
  syntax    is a program with the same syntax tree, names and constants apart
  near      shares most of its runs of 13 words with the statement or a program (MinHash estimate of Jaccard)

Statements and programs that are too short to say anything do not count.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from selfexec_jax.problems import syntax
from selfexec_jax.problems.splits import normalised_ast
from selfexec_jax.problems.types import Problem

_WORD = re.compile(r"\w+|[^\w\s]")
_LONGEST = 200_000  # characters of a text that are looked at


@dataclasses.dataclass(frozen=True)
class Match:
    """How an example matches which problem of which evaluation set."""

    how: str
    set: str
    problem: str


class Gate:
    """Knows the evaluation sets, by name; see the module for what counts as a match.

    gram: words of a run. near: least estimated Jaccard similarity of a near duplicate. shortest: words of a text, and
    nodes of a syntax tree, below which it is too common to be a sign. permutations: of the MinHash; its standard
    error is near 1 / sqrt(permutations).
    """

    def __init__(
        self, sets: Mapping[str, Sequence[Problem]], gram: int = 13, near: float = 0.5, shortest: int = 30,
        permutations: int = 128,
    ):  # fmt: skip
        from datasketch import MinHash, MinHashLSH  # with scipy, for which a run without such data need not wait

        self._gram, self._shortest = gram, shortest
        self._same: dict[tuple, Match] = {}
        self._syntax: dict[str, Match] = {}
        self._begins: dict[tuple, list[tuple[tuple, Match]]] = {}  # first words of statements
        self._near = MinHashLSH(threshold=near, num_perm=permutations)
        self._empty_hash = functools.partial(MinHash, num_perm=permutations, seed=1)
        self._matches: dict[str, Match] = {}
        for name, problems in sets.items():
            for problem in problems:
                self._learn(name, problem)

    def _learn(self, name: str, problem: Problem) -> None:
        match = functools.partial(Match, set=name, problem=problem.id)
        statement = _words(problem.statement)
        if len(statement) >= self._shortest:
            self._begins.setdefault(statement[: self._gram], []).append((statement, match("contains")))
        for text in (problem.statement, *problem.solutions):
            words = _words(text)
            if len(words) >= self._gram:  # "Return what the function returns." is nobody's
                self._same.setdefault(words, match("exact"))
            if len(words) >= self._shortest:
                key = str(len(self._matches))
                self._matches[key] = match("near")
                self._near.insert(key, self._hash(words))
        for source in problem.solutions:
            tree = self._tree(source)
            if tree is not None:
                self._syntax.setdefault(tree, match("syntax"))

    def match(self, texts: Iterable[str]) -> Match | None:
        """The first match of an example, None where it may be trained on."""
        for text in texts:
            for part in (text[:_LONGEST], *_programs(text[:_LONGEST])):
                found = self._match(part)
                if found is not None:
                    return found
        return None

    def _match(self, text: str) -> Match | None:
        words = _words(text)
        if words in self._same:
            return self._same[words]
        tree = self._tree(text)
        if tree in self._syntax:
            return self._syntax[tree]
        for i in range(len(words) - self._gram + 1):
            for statement, match in self._begins.get(words[i : i + self._gram], ()):
                if words[i : i + len(statement)] == statement:
                    return match
        if len(words) >= self._shortest:
            return next((self._matches[key] for key in sorted(self._near.query(self._hash(words)), key=int)), None)
        return None

    def _hash(self, words: tuple[str, ...]):
        found = self._empty_hash()
        grams = {" ".join(words[i : i + self._gram]) for i in range(len(words) - self._gram + 1)}
        found.update_batch(sorted(gram.encode("utf-8", "surrogatepass") for gram in grams))
        return found

    def _tree(self, source: str) -> str | None:
        try:
            tree = normalised_ast(source, keeps_constants=False)
        except syntax.UNREADABLE:
            return None
        return tree if tree.count("(") >= self._shortest else None


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.lower()))


def _programs(text: str) -> Iterator[str]:
    """What stands between fences, without the line that names the language."""
    return (part.partition("\n")[2] for part in text.split("```")[1::2])
