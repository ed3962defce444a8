"""How a row of each public format becomes a `Problem`; a format is told by its fields.

| format | taken from the row |
|---|---|
| our own | the fields of `Problem` |
| CodeContests (deepmind/code_contests, as jsonl or parquet) | `name` id, `description` statement, `public_tests`, `private_tests` + `generated_tests`, Python 3 of `solutions` and `incorrect_solutions`, `time_limit`, `memory_limit_bytes`, `cf_tags` |
| CodeContests, flat jsonl | `id`, `statement`, `public_tests_parsed`, `tests`, `solution`, `tags` |
| LiveCodeBench, code generation | `question_id` id, `question_content` and `starter_code` statement, `public_test_cases`, `private_test_cases`, `metadata.func_name`; tags platform, difficulty, stdin or functional, `date:YYYY-MM-DD` |
| LiveCodeBench, code execution | `id`, `code` the program, `function_name`, `input` the call, `output`; tag date |
| LiveCodeBench, test output prediction | `question_id`-`test_id` id, `question_content` statement, `function_name`, `test`; tag date |
| CRUXEval | `id`, `code` the program, `input`, `output` |
| HumanEval, HumanEval+ | `task_id` id, `prompt` statement, `canonical_solution`, `test`, `entry_point` |
| EvalPlus's releases (HumanEvalPlus.jsonl, MbppPlus.jsonl) | `task_id` id, `prompt` statement, `canonical_solution`, whose results on `base_input` and `plus_input` are what is expected, within `atol` |
| MBPP | `task_id` (id mbpp/N), `text` and `test_list` statement, `code`, `test_setup_code` |
| MBPP+ (evalplus/mbppplus) | as MBPP, `prompt` statement, `test` |
| programs and their outputs (`tools.predictions`) | `problem`, `model`, `source`, `stdin` or `call`, `output` |
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Callable

from selfexec_jax.problems.formats import codecontests, functions, livecodebench, outputs, own
from selfexec_jax.problems.types import Problem


def read_row(row: object) -> Problem:
    """The problem that a row of any format describes; KeyError names the field that is missing or bad."""
    if not isinstance(row, dict):
        raise KeyError("the whole row (not a JSON object)")
    for fields, reader in FORMATS:
        if fields <= set(row):
            return reader(row)
    raise KeyError("id, statement (or the fields of another format, see problems/formats)")


# The fields that tell a format, and its reader; the first that fits is taken.
FORMATS: tuple[tuple[frozenset, Callable[[dict], Problem]], ...] = (
    (frozenset({"id", "statement", "public_tests_parsed", "tests", "solution"}), codecontests.codecontests_flat),
    (frozenset({"name", "description", "public_tests", "private_tests"}), codecontests.codecontests),
    (
        frozenset({"question_id", "question_content", "public_test_cases", "private_test_cases"}),
        livecodebench.code_generation,
    ),
    (frozenset({"question_id", "function_name", "code", "input", "output"}), livecodebench.code_execution),
    (
        frozenset({"question_id", "question_content", "function_name", "test", "test_id"}),
        livecodebench.output_prediction,
    ),
    (frozenset({"id", "code", "input", "output"}), outputs.cruxeval),
    (
        frozenset({"task_id", "prompt", "canonical_solution", "entry_point", "base_input", "plus_input"}),
        functions.evalplus,
    ),
    (frozenset({"task_id", "prompt", "canonical_solution", "test", "entry_point"}), functions.humaneval),
    (frozenset({"task_id", "prompt", "code", "test_list", "test"}), functions.mbpp_plus),
    (frozenset({"task_id", "text", "code", "test_list"}), functions.mbpp),
    (frozenset({"problem", "source", "output"}), outputs.program_output),
    (frozenset({"id", "statement"}), own.own),
)
