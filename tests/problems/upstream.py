"""Rows with the schemas of public data sets."""

import base64
import json
import pickle
import zlib

CODECONTESTS = {
    "name": "1_A. Sum",
    "description": "Add two numbers.",
    "public_tests": {"input": ["1 2\n"], "output": ["3\n"]},
    "private_tests": {"input": ["5 5\n"], "output": ["10\n"]},
    "generated_tests": {"input": ["0 0\n"], "output": ["0\n"]},
    "source": 2,
    "difficulty": 7,
    "solutions": {"language": [2, 3, 1], "solution": ["int main", "print(1)", "print 1"]},
    "incorrect_solutions": {"language": [3], "solution": ["print(2)"]},
    "cf_contest_id": 1,
    "cf_tags": ["math", ""],
    "time_limit": {"seconds": 1, "nanos": 500_000_000},
    "memory_limit_bytes": 256_000_000,
}


def packed(tests):
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(tests)))).decode()


LIVECODEBENCH = {
    "question_title": "T",
    "question_content": "Add.",
    "platform": "leetcode",
    "question_id": "2777",
    "contest_id": "w1",
    "contest_date": "2024-09-01T00:00:00",
    "difficulty": "easy",
    "starter_code": "class Solution:\n    def add(self, a: List[int], b: int) -> bool:\n        ",
    "public_test_cases": json.dumps([{"input": "[1, 2]\n3", "output": "true", "testtype": "functional"}]),
    "private_test_cases": packed([{"input": '["a"]\n4', "output": "null", "testtype": "functional"}]),
    "metadata": '{"func_name": "add"}',
}
STDIN = LIVECODEBENCH | {
    "starter_code": "",
    "metadata": "{}",
    "platform": "atcoder",
    "public_test_cases": '[{"input": "1", "output": "1", "testtype": "stdin"}]',
    "private_test_cases": "[]",
}
