"""Which Python tests are the same as tests by input and output."""

from selfexec_jax.problems.asserts import literal_tests
from selfexec_jax.problems.types import Test

CHECK = """
def check(candidate):
    assert candidate([1, 2], k=3) == [3, 6]
    assert candidate([]) == [], "empty"
    assert True, "a placeholder"
"""


def test_literal_asserts_become_tests():
    tests = (Test("[1, 2], k=3", "[3, 6]"), Test("[]", "[]"))
    assert literal_tests(CHECK, "times") == tests
    assert literal_tests("assert times([1, 2], k=3) == [3, 6]\nassert times([]) == []", "times") == tests
    others = ["assert f(1)", "assert f(1) < 2", "assert f(g(1)) == 1", "x = 1\nassert f(x) == 1", "assert g(1) == 1"]
    others += ["assert abs(f(1) - 1) < 1e-6", "assert f(1) == 2 + 3", "for i in [1]: assert f(i) == 1", "", "def",
               "assert f(1) == 1\nassert f(1) == 2"]  # fmt: skip
    for other in others:
        assert literal_tests(other, "f") is None, other
