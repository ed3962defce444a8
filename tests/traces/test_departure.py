"""Where a run leaves what a test wants, in the same words for what happened and for what a model says."""

import pytest
from programs import LARGEST

from selfexec_jax.sandbox import Run, TraceBudget
from selfexec_jax.traces import departure, narrate

TWO_LINES = "a = int(input())\nb = a * 2\nprint(a)\nb += 1\nprint('is', b)\n"


def told(pool, source, stdin, wanted, style="compact"):
    trace = pool.submit(Run(source, stdin, trace=TraceBudget())).result(timeout=60).trace
    return departure(narrate(trace, style).text, style, wanted)


@pytest.mark.parametrize("style", ["compact", "full"])
def test_it_tells_how_the_value_came_about(pool, style):
    nums = "[5,4,7,10,1]" if style == "compact" else "[5, 4, 7, 10, 1]"
    assert told(pool, LARGEST, "5 4 7 10 1\n", "2\n", style) == f"ans: None, 2, 3, 5 (nums={nums}, x=10, y=5)"
    assert told(pool, TWO_LINES, "3\n", "3\nis 6\n", style) == "b: 6, 7 (a=3)"
    assert told(pool, TWO_LINES, "3\n", "4\nis 7\n", style) == "a: 3"


def test_nothing_is_told_where_there_is_nothing_to_tell(pool):
    assert told(pool, LARGEST, "5 4 7 10 1\n", "5\n") == "" == told(pool, LARGEST, "5 4 7 10 1\n", " 5")
    assert told(pool, "print('no')\n", "", "yes\n") == ""
    assert told(pool, "a = int(input())\nprint(a * 7)\n", "3\n", "20\n") == "3*7 = 21"
    for text in ("", "print", "write 'x", "((", "x=1\nprint 2"):
        assert departure(text, "compact", "7") == ""


def test_long_histories_and_values_are_cut(pool):
    source = "t = 0\nfor i in range(30):\n    t += i\nprint(t)\n"
    assert told(pool, source, "", "1\n") == "t: 0, 1, .., 276, 300, 325, 351, 378, 406, 435 (i=29)".replace("276, ", "")
    source = "s = 'a' * 50\nprint(s)\n"
    assert told(pool, source, "", "b\n").startswith("s: '" + "a" * 39 + "..")
