"""Evaluation problems in training data are found whatever their form, and nothing else is."""

import json

import pytest

from selfexec_jax.problems import Problem
from selfexec_jax.problems.datasets import load_problems
from selfexec_jax.problems.decontaminate import Gate

STATEMENT = (
    "A farmer has n cows and m fields. Each cow eats a_i bales of hay a day and each field gives b_j bales. Find the "
    "largest number of days that all cows can be fed, if hay that is not eaten can be kept for the days after. The "
    "first line has n and m, the second the n numbers a_i and the third the m numbers b_j. Print one number, or -1 if "
    "for ever."
)
PROGRAM = """
def solve(cows, fields):
    total, days = sum(fields), 0
    need = sum(cows)
    while total >= need and days < 1000:
        total -= need
        days += 1
    return days if days < 1000 else -1
"""
SETS = {"farm": [Problem("cows", STATEMENT, solutions=(PROGRAM,)), Problem("x", "Return what the function returns.")]}
WITH_CLASS = """class Cow:
    def __init__(self, grass):
        self.grass = grass

async def eat(cow, much=1):
    global eaten
    try:
        eaten = cow.grass - much
    except ValueError as error:
        print(error)
import math as m
print(eat(Cow(m.floor(3.5)), much=2))
"""
SETS["farm"].append(Problem("class", "Return.", solutions=(WITH_CLASS,)))
OTHER_CLASS = WITH_CLASS
_NEW = {"Cow": "Goat", "eaten": "left", "eat": "graze", "much": "n", "error": "e", " m\n": " x\n", "m.fl": "x.fl"}
for _old, _new in _NEW.items():
    OTHER_CLASS = OTHER_CLASS.replace(_old, _new)
RENAMED = PROGRAM.replace("cows", "a").replace("total", "t").replace("1000", "77").replace("solve", "main")
REWORDED = STATEMENT.replace("A farmer has", "Farmer John owns").replace("Print one number", "Output one integer")


@pytest.fixture(scope="module")
def gate():
    return Gate(SETS)


@pytest.mark.parametrize(
    ("text", "how"),
    [
        (STATEMENT, "exact"),
        (f"  {STATEMENT.upper()}\n", "exact"),
        (PROGRAM, "exact"),
        (RENAMED, "syntax"),
        (f"\ud800 {STATEMENT}", "contains"),
        (f"Here is a problem. {STATEMENT} Think step by step.", "contains"),
        (f"Sure!\n```python\n{RENAMED}```\nDone.", "syntax"),
        (REWORDED, "near"),
        (PROGRAM + "\nprint(solve([1], [2]))", "near"),
    ],
)
def test_copies_are_found(gate, text, how):
    match = gate.match(["What is this?", text])
    assert (match.how, match.set, match.problem) == (how, "farm", "cows")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "print(1)",
        "def f(x): return x + 1",
        "A farmer has n cows and m fields.",
        "Return what the function returns.",
        "x = [",
        STATEMENT[:200] + "Say how many fields there are. " * 9,
        PROGRAM.replace("while", "if"),
        "(" * 100_000,
    ],
)
def test_other_texts_pass(gate, text):
    assert gate.match([text]) is None


def test_every_name_of_a_program_may_be_another(gate):
    match = gate.match([OTHER_CLASS])
    assert (match.how, match.problem) == ("syntax", "class")


def test_real_sets_are_found_and_kept_apart(data):
    names = {"dmc test": "codecontests_test_165.jsonl", "humaneval": "HumanEval.jsonl.gz", "cruxeval": "cruxeval.jsonl"}
    gate = Gate({name: load_problems(data / file) for name, file in names.items()})
    rows = [json.loads(line) for line in (data / "codecontests_test_165.jsonl").read_text().splitlines()]
    asked = [f"Solve this in Python.\n{row['prompt']}\nThink first." for row in rows]
    assert all(gate.match([text]).set == "dmc test" for text in asked)
    programs = [problem.solutions for problem in load_problems(data / "HumanEval.jsonl.gz")]
    assert all(gate.match(each).set == "humaneval" for each in programs)
    apart = load_problems(data / "codecontests_mini.jsonl")
    assert not [problem.id for problem in apart if gate.match([problem.statement, *problem.solutions])]
