"""Programs for tests: one that is told in several, and random ones for hypothesis, which end and read what exists."""

import textwrap

from hypothesis import strategies as st

LARGEST = """nums = [int(w) for w in input().split()]
ans = None
for x in nums:
    if x % 3 != 1:
        continue
    y = x // 2
    if ans is None or y > ans:
        ans = y
print(ans)
"""
NUMBERS = ["n", "m", "k"]
numbers = st.one_of(st.integers(-9, 20).map(str), st.sampled_from(NUMBERS))
words = st.sampled_from(
    ["'a'", "'b;c'", "'x = 1'", "'it is, so'", '"it\'s"', "'yes'", "''", "s", "s.upper()", "s[::-1]"]
)
lists = st.sampled_from(
    ["a", "a[1:]", "sorted(a)", "[n, m]", "[v * 2 for v in a if v > n]", "list(d.values())"]
)


def _number(inner):
    return st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(inner, st.sampled_from(["//", "%"]), st.integers(1, 7)).map(
            lambda t: f"({t[0]} {t[1]} {t[2]})"
        ),
        st.tuples(st.sampled_from(["max", "min"]), inner, inner).map(lambda t: f"{t[0]}({t[1]}, {t[2]})"),
        inner.map(lambda x: f"f({x} % 5)"),
        inner.map(lambda x: f"-{x}"),
        lists.map(lambda x: f"len({x})"),
        lists.map(lambda x: f"sum(v for v in {x})"),
        words.map(lambda x: f"len({x})"),
        st.just("a[0]"),
        st.just("g[1][0]"),
        st.just("d.get(s, 3)"),
        st.just("(lambda q: q - 1)(n)"),
    )


expressions = st.recursive(numbers, _number, max_leaves=4)
comparisons = st.one_of(
    st.tuples(expressions, st.sampled_from(["<", ">=", "==", "!="]), expressions).map(" ".join),
    st.tuples(numbers, numbers, numbers).map(lambda t: f"{t[0]} < {t[1]} <= {t[2]}"),
    st.tuples(numbers, lists).map(" in ".join),
    st.tuples(words, words).map(" == ".join),
    st.sampled_from(["a", "s", "n", "s.isalpha()", "n is None", "'a' not in d"]),
)
conditions = st.one_of(
    comparisons,
    st.tuples(comparisons, st.sampled_from(["and", "or"]), comparisons).map(" ".join),
    comparisons.map(lambda c: f"not ({c})"),
    st.tuples(comparisons, comparisons).map(lambda t: f"not {t[0]} or {t[1]} and n"),
)
names = st.sampled_from(NUMBERS)
simple = st.one_of(
    st.tuples(names, expressions).map(lambda t: f"{t[0]} = {t[1]}"),
    st.tuples(names, st.sampled_from(["+=", "-=", "*="]), numbers).map(
        lambda t: f"{t[0]} {t[1]} {t[2]}\n{t[0]} %= 99"
    ),
    st.tuples(names, conditions).map(lambda t: f"{t[0]} = int({t[1]} if True else 1) if {t[1]} else 2"),
    expressions.map(lambda e: f"a.append({e} % 50)\na = a[-5:]"),
    expressions.map(lambda e: f"a[0] = {e}"),
    expressions.map(lambda e: f"g[1][0] += {e} % 9"),
    st.tuples(words, expressions).map(lambda t: f"d[{t[0]}] = {t[1]}"),
    words.map(lambda w: f"s = (s + {w})[-6:]"),
    st.just("a.sort()"),
    st.just("n, m = m, n"),
    st.just("a[0], k = k, a[0]"),
    st.tuples(expressions, words).map(lambda t: f"print({t[0]}, {t[1]})"),
    words.map(lambda w: f"print({w}, end=' ')"),
    words.map(lambda w: f"print({w} + '\\n;x=1 yes')"),
    conditions.map(lambda c: f"print({c})"),
    st.just("try:\n    k = n // 0\nexcept ZeroDivisionError as e:\n    print('no:', e)"),
    st.just("try:\n    k = d['none']\nexcept KeyError:\n    k = 1\nfinally:\n    n = 2"),
)


def _block(inner):
    body = st.lists(inner, min_size=1, max_size=3).map("\n".join)
    return st.one_of(
        st.tuples(conditions, body).map(lambda t: f"if {t[0]}:\n{_in(t[1])}"),
        st.tuples(conditions, body, body).map(lambda t: f"if {t[0]}:\n{_in(t[1])}\nelse:\n{_in(t[2])}"),
        body.map(lambda b: f"for i in range(2):\n{_in(b)}"),
        body.map(lambda b: f"for i, v in enumerate(list(a[:2])):\n{_in(b)}"),
        st.tuples(conditions, body).map(
            lambda t: f"for v in [1, 2, 3]:\n    if {t[0]}:\n        break\n{_in(t[1])}"
        ),
        body.map(lambda b: f"w = 0\nwhile w < 2:\n    w += 1\n{_in(b)}"),
    )


def _in(text):
    return textwrap.indent(text, "    ")


_HEAD = """n, m, k = 3, -2, 7
s = 'ab'
a = list(map(int, input().split()))
d = {'a': 1, s: 2}
g = [[1, 2], [3, 4]]
def f(x, y=2):
    if x <= 0:
        return y
    return f(x - 1) + x
"""
programs = st.lists(st.recursive(simple, _block, max_leaves=5), min_size=1, max_size=6).map(
    lambda parts: _HEAD + "\n".join(parts) + "\nprint(n, a)\n"
)
