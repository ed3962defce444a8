"""A seeded generator of small contest problems with tests, reference programs and near misses.

`generate(...)` yields disjoint sets: `train`, `heldout` (compositions never trained on), `unseen` (compositions that
join two kinds of parts never seen together in training) and `validation` (like held-out ones, for whatever is fitted).
"""

from __future__ import annotations

import dataclasses
import hashlib
import random
from collections.abc import Iterable

from selfexec_jax.problems.generator import lists, loops, traps, words
from selfexec_jax.problems.generator.draft import Draft, input_size
from selfexec_jax.problems.generator.parts import largest_constant
from selfexec_jax.problems.splits import normalised_ast
from selfexec_jax.problems.types import Problem, Test

__all__ = ["FAMILIES", "Rejected", "generate", "input_size", "trapped"]

FAMILIES = {
    "accumulate": lists.accumulate,
    "extremum": lists.extremum,
    "helper": lists.helper,
    "digits": loops.digits,
    "running": loops.running,
    "pairs": loops.pairs,
    "letters": words.letters,
    "tables": words.tables,
    "edges": traps.edges,
    "limits": traps.limits,
}
_TRAP = "trap"  # tag of problems with one, see `trapped`

# Pairs of kinds kept apart in training: where a draft holds both, it belongs to `unseen`.
UNSEEN_PAIRS = (
    ("select:even", "transform:linear"), ("select:remainder", "transform:minus"),
    ("select:above", "transform:from"), ("select:below", "reduce:count"),
    ("select:between", "reduce:sum"), ("select:odd", "reduce:max"),
    ("select:not_multiple", "reduce:first"), ("transform:times", "reduce:min"),
    ("bound:below", "update:double"), ("keep:vowels", "join:backward"),
    ("pair:rising", "reduce:sum"), ("weight:length", "ask:largest"),
)  # fmt: skip

_PATIENCE = 20_000  # drafts in a row that may be thrown away before the families count as exhausted
_HELDOUT_EVERY = 5  # one composition in so many is kept for evaluation


@dataclasses.dataclass(frozen=True)
class Rejected:
    """How many drafts were thrown away, and why."""

    same_composition: int = 0  # a held-out set has it already
    same_program: int = 0  # another split has it
    dull: int = 0  # every test has the same output, no near miss differs, or a trap catches no input or all


def trapped(problem: Problem) -> tuple[str, ...]:
    """The program that is right but for crashing or taking too long, of a problem that has such a trap."""
    return problem.wrong_solutions[:1] if _TRAP in problem.tags else ()


def is_unseen(draft: Draft) -> bool:
    kinds = set(draft.kinds)
    return any(first in kinds and second in kinds for first, second in UNSEEN_PAIRS)


def _finish(
    draft: Draft, name: str, rng: random.Random, knobs
) -> tuple[Problem, frozenset[str]] | None:
    """Draws tests and near misses; None when the tests would settle nothing."""
    inputs: dict[str, None] = {}
    for size_range, count in ((knobs.public_size, knobs.n_public), (knobs.private_size, knobs.n_private)):
        target = len(inputs) + count
        for _ in range(200):
            if len(inputs) >= target:
                break
            inputs.setdefault(draft.sample_input(rng, rng.randint(*size_range), knobs.largest_number) + "\n")
        if len(inputs) < target:
            return None
    outputs = [draft.evaluate(draft.choices, text) for text in inputs]
    if len(set(outputs)) == 1 or (knobs.n_public > 1 and len(set(outputs[: knobs.n_public])) == 1):
        return None
    tests = tuple(Test(i, o) for i, o in zip(inputs, outputs, strict=True))
    wrong: dict[str, None] = {}
    if draft.trap:
        if len({draft.is_trapped(draft.choices, text) for text in inputs}) == 1:
            return None
        wrong[draft.trap(draft.choices, rng)] = None
    for _ in range(4 * knobs.n_wrong):
        if len(wrong) >= knobs.n_wrong:
            break
        other = draft.mutate(draft.choices, rng)
        if largest_constant(other) > knobs.largest_constant:
            continue
        if any(draft.evaluate(other, t.input) != t.output for t in tests):
            wrong.setdefault(draft.render(other, rng))
    if len(wrong) < knobs.n_wrong:
        return None
    solutions = tuple(dict.fromkeys(draft.render(draft.choices, rng) for _ in range(knobs.n_solutions)))
    problem = Problem(
        id=name,
        statement=draft.statement,
        public_tests=tests[: knobs.n_public],
        private_tests=tests[knobs.n_public :],
        solutions=solutions,
        wrong_solutions=tuple(wrong),
        source=f"generator/{draft.family}",
        time_limit_s=knobs.time_limit_s,
        tags=(draft.family, "open" if draft.is_open else "specified", *([_TRAP] if draft.trap else ())),
    )
    return problem, frozenset(map(normalised_ast, (*solutions, *wrong)))


def split_of(draft: Draft, seed: int) -> str:
    """The one split that a composition may belong to, decided by the composition itself, family apart."""
    if is_unseen(draft):
        return "unseen"
    digest = hashlib.blake2b(repr((seed, draft.composition[1:])).encode(), digest_size=4).digest()
    return "heldout" if int.from_bytes(digest, "big") % _HELDOUT_EVERY == 0 else "train"


def generate(
    knobs, seed: int, n_validation: int = 0, learned: Iterable[str] = ()
) -> tuple[dict[str, list[Problem]], Rejected]:
    """Problems by split; `knobs` is the config's `problems` section. The validation problems change no other split.

    Splits are disjoint by composition (parts with constants) and by the name-normalised AST, constants
    included, of every program, near misses too: a draft that collides with an earlier split is rejected
    and counted. `learned`: such ASTs that were trained on before, which belong to `train`. Held-out sets hold a
    composition of a family once, or once open and once specified. At most a third of a split is open, whatever
    `open_share` says. Raises ValueError when the families have too few compositions.
    """
    wanted = {"heldout": knobs.n_heldout, "unseen": knobs.n_unseen, "train": knobs.n_train}
    if n_validation:
        wanted["validation"] = n_validation
    owner_of_program: dict[str, str] = dict.fromkeys(learned, "train")
    problems: dict[str, list[Problem]] = {split: [] for split in wanted}
    rejected = dict.fromkeys((f.name for f in dataclasses.fields(Rejected)), 0)
    measured_on: set[tuple] = set()  # compositions of held-out problems, whatever their family
    for split, count in wanted.items():
        rng = random.Random(f"{seed}/{split}")
        drawn_from = "heldout" if split == "validation" else split
        seen: set[tuple] = set()
        misses = n_open = 0  # misses: drafts in a row that were not taken
        while len(problems[split]) < count:
            misses += 1
            if misses > _PATIENCE:
                field = "belief.problems" if split == "validation" else f"problems.n_{split}"
                raise ValueError(
                    f"{field}={count}: families {list(knobs.families)} give no more than"
                    f" {len(problems[split])} distinct compositions; ask for fewer or add families"
                )
            draft = FAMILIES[rng.choice(list(knobs.families))](rng, knobs)
            if largest_constant(draft.choices) > knobs.largest_constant:
                continue
            if split_of(draft, seed) != drawn_from or (draft.is_open and 3 * (n_open + 1) > count):
                continue
            key = (*draft.composition, draft.is_open)
            if (key in seen and split != "train") or (split == "validation" and draft.composition[1:] in measured_on):
                rejected["same_composition"] += 1
                continue
            finished = _finish(draft, f"{split}-{len(problems[split])}", rng, knobs)
            if finished is None:
                rejected["dull"] += 1
                continue
            problem, programs = finished
            if any(owner_of_program.get(program, split) != split for program in programs):
                rejected["same_program"] += 1
                continue
            seen.add(key)
            if split == "heldout":
                measured_on.add(draft.composition[1:])
            owner_of_program.update(dict.fromkeys(programs, split))
            problems[split].append(problem)
            misses = 0
            n_open += draft.is_open
    return problems, Rejected(**rejected)
