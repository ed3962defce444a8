"""What narrations look like: the two styles, statement by statement."""

import pytest
from harness import READ_AND_SUM

from selfexec_jax.sandbox.types import TraceBudget
from selfexec_jax.traces import check_claims, narrate, parse_claims


def test_compact_example(traced):
    narration = narrate(traced(READ_AND_SUM, "4\n5 7 -2 10").trace, "compact")
    assert narration.output == "30\n"
    assert (
        narration.text
        == """n=4
a=[5,7,-2,10]
t=0
x=5;5%3=2;2==1 no
x=7;7%3=1;1==1 yes
7*2=14;t=0+14=14
x=-2;-2%3=1;1==1 yes
-2*2=-4;t=14+-4=10
x=10;10%3=1;1==1 yes
10*2=20;t=10+20=30
x end
print 30"""
    )


def test_full_example(traced):
    text = narrate(traced(READ_AND_SUM, "4\n5 7 -2 10").trace).text.split("\n")
    assert text[0] == "Line 1: it reads '4', so n becomes 4."
    assert text[5] == "Line 4: next x is 7."
    assert text[6] == "Line 5: 7 % 3 is 1, and 1 == 1 is true, so the branch is taken."
    assert text[7] == "Line 6: 7 * 2 is 14 and 0 + 14 is 14, so t becomes 14."
    assert text[-2:] == ["Line 4: the loop ends.", "Line 7: it prints 30."]
    assert "trace" not in "".join(text)


_HEAD = "from collections import defaultdict\nimport statistics\n"
CALLS = {  # what is said of calls whose arguments are not those of the function that ended last, or not all that is
    "of a class that a container makes": (
        f"{_HEAD}class A:\n    def __init__(self, v=7):\n        self.v = v\nd = defaultdict(A)\nd[0]\n"
        "m = statistics.mean([1, 2, 3])\n", "statistics.mean([1, 2, 3]) is 2"),
    "in an argument": (
        f"{_HEAD}class A:\n    def __init__(self, v=7):\n        self.v = v\nd = defaultdict(A)\n"
        "m = statistics.mean([d[0].v, 1])\n", "statistics.mean([d[0].v, 1]) is 4"),
    "of more arguments": ("def f(*a, **b):\n    return sum(a)\nt = f(1, 2, k=3)\n", "f(1, 2, k=3) is 3"),
    "by a keyword": ("def f(a, *, b):\n    return a - b\nt = f(3, b=1)\n", "f(3, b=1) is 2"),
    "through the class": (
        "class A:\n    def f(self, x):\n        return x + 1\na = A()\nt = A.f(a, 2)\nt = a.f(4)\n",
        "A.f(a, 2) is 3"),
    "of a bound one": (
        "class A:\n    def f(self, x):\n        return x + 1\na = A()\nn = 4\nt = a.f(n)\n", "a.f(4) is 5"),
    "by another name": ("def f(x):\n    return x + 1\ng = f\nn = 4\nt = g(n)\n", "g(4) is 5"),
    "of a lambda in place": ("n = 4\nt = (lambda x: x + 1)(n)\n", "(lambda x: x + 1)(n) is 5"),
    "of what is cached": (
        "from functools import lru_cache\n@lru_cache\ndef f(x):\n    return x + 1\nn = 4\nt = f(n) + f(n)\n",
        "f(4) is 5"),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_told_with_its_own_arguments(traced, name):
    source, said = CALLS[name]
    trace = traced(source).trace
    told = narrate(trace).text
    assert said in told and check_claims(parse_claims(told), trace).ok


def test_every_exception_is_told(traced):
    """One may get the place in memory of one that is gone."""
    source = "class A:\n    __iter__ = lambda self: self\n    def __next__(self):\n        raise StopIteration()\n"
    told = narrate(traced(source + 5 * "for x in A():\n    pass\n" + 3 * "list(A())\n").trace).text
    assert told.count("it raises StopIteration") == 8


CASES = {
    "items": ("a = [1, 2]\na[1] = 7\nx = a[1]\na[0] += x\n", "a=[1,2]\na[1]=7\nx=a[1]=7\na[0]=1;a[0]=1+7=8"),
    "nested items": ("g = [[1], [2]]\ng[1][0] = 5\n", "g=[[1],[2]]\ng[1]=[2];g[1][0]=5"),
    "calls": ("a = [1, 2]\nx = len(a)\nx = max(x, 3)\n", "a=[1,2]\nx=len(a)=2\nx=max(2,3)=3"),
    "methods": ("s = 'ab'\nt = s.upper()\n", "s='ab'\nt='ab'.upper()='AB'"),
    "changes": ("a = [2, 1]\na.sort()\nx = a.pop()\n", "a=[2,1]\na.sort();a=[1,2]\nx=a.pop()=2;a=[1]"),
    "swap": ("a, b = 1, 2\na, b = b, a\n", "a=1;b=2\na=2;b=1"),
    "no conversions": ("x = int('4') + 1\nr = [int(v) for v in '1 2'.split()]\n", "x=4+1=5\nr=[1,2]"),
    "short circuit": (
        "x = 1\nif x > 2 and x < 9: pass\nif x < 2 and x < 9: pass\nif not x: pass\nif x: pass\n",
        "x=1\n1>2 no\n1<2 yes;1<9 yes;yes\nx yes;no\nx yes",
    ),
    "chain": ("x = 4\nif 1 < x < 3: pass\n", "x=4\n1<4 yes;4<3 no;no"),
    "call condition": ("s = '12'\nif s.isdigit(): print('y;n')\n", "s='12'\n'12'.isdigit() yes\nprint y;n"),
    "while": ("n = 2\nwhile n > 0:\n    n -= 1\n", "n=2\n2>0 yes\nn=2-1=1\n1>0 yes\nn=1-1=0\n0>0 no"),
    "range": ("for i in range(2):\n    x = i + 1\n", "i=0;x=0+1=1\ni=1;x=1+1=2\ni end"),
    "empty bodies": ("for i in range(2):\n    pass\n", "i=0\ni=1\ni end"),
    "nested loops": (
        "for i in range(2):\n    for j in range(1):\n        if j == i: break\n",
        "i=0;j=0;0==0 yes\nbreak\ni=1;j=0;0==1 no\nj end\ni end",
    ),
    "comprehension": ("b = [v * v for v in [1, 3] if v > 1]\n", "v=1;1>1 no\nv=3;3>1 yes;3*3=9\nb=[9]"),
    "generator": ("t = sum(v + 1 for v in [1, 2])\n", "v=1;1+1=2\nv=2;2+1=3\nt=sum([2,3])=5"),
    "joined": ("s = '-'.join(str(v) for v in [1, 2])\n", "s='-'.join(['1','2'])='1-2'"),
    "function": (
        "def f(x, y):\n    return x + y\nz = f(3, y=4) * 2\n",
        "f(x=3,y=4):\n3+4=7\nreturn 7\nf(3,4)=7;z=7*2=14",
    ),
    "lambda": (
        "a = sorted([2, 1], key=lambda v: -v * 2)\n",
        "lambda(v=2);-2*2=-4;return -4\nlambda(v=1);-1*2=-2;return -2\n"
        "a=sorted([2,1],key=lambda v:-v*2)=[2,1]",
    ),
    "recursive item": (
        "def f(n):\n    g[n].append(f(n - 1) if n else 0)\n    return n\ng = [[], []]\nf(1)\n",
        "g=[[],[]]\nf(n=1):\ng[1]=[];n yes;1-1=0\nf(n=0):\ng[0]=[];n no;g[0].append(0);g[0]=[0]\nreturn 0\n"
        "f(0)=0;g[1].append(0);g[1]=[0]\nreturn 1\nf(1)=1",
    ),
    "exceptions": (
        "try:\n    raise ValueError('a: b')\nexcept ValueError:\n    print('c')\n{}['k']\n",
        "raise ValueError: a: b\ncatch ValueError\nprint c\nraise KeyError: 'k'",
    ),
    "prints": (
        "print('a', end=' ')\nprint(1, 2)\nprint()\nprint('x\\ny')\nprint(' z')\n",
        "write 'a '\nprint 1 2\nprint\nprint x\nprint y\nwrite ' z\\n'",
    ),
    "objects": (
        "class P:\n    def __init__(self, x):\n        self.x = x\np = P(1)\np.x += 2\n",
        "__init__(x=1):\nself.x=1\nreturn None\np=P(1)=<P x=1>\np.x=1+2=3",
    ),
    "yields": (
        "def g():\n    yield 1\nfor v in g():\n    print(v)\n",
        "g():\nyield 1\nv=1;print 1\nv end",
    ),
    "match": ("match 3:\n    case 1: pass\n    case n: print(n)\n", "case n\nn=3\nprint 3"),
    "power of a negative": ("x = -2\ny = x ** 2\n", "x=-2\ny=(-2)**2=4"),
    "long values": (
        "s = 'x' * 30 + 'y' * 31\nt = s + 'z'\nu = len(t)\n",
        f"s='{'x' * 30}{'y' * 31}'\nt=s+'z'='{'x' * 30}{'y' * 31}z'\nu=len(t)=62",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_compact(traced, name):
    source, want = CASES[name]
    text = narrate(traced(source).trace, "compact").text
    assert text == want


def test_a_call_begins_and_ends_with_the_function(traced):
    source = "K = 3\ndef f(a):\n    return a * K\n"
    narration = narrate(traced(source, call="f(2)").trace, "compact")
    assert (narration.text, narration.output) == ("f(a=2):\n2*3=6\nreturn 6", "6")
    assert narrate(traced(source, call="f('x')").trace).output == "'xxx'"


def test_a_spent_budget_leaves_a_shorter_narration(traced):
    whole = narrate(traced(READ_AND_SUM, "4\n5 7 -2 10").trace, "compact").text
    cut = traced(READ_AND_SUM, "4\n5 7 -2 10", budget=TraceBudget(events=12)).trace
    assert cut.stop == "events"
    assert whole.startswith(narrate(cut, "compact").text)


def test_what_a_generator_gave_is_told_where_it_gave_it(traced):
    run = traced("def g():\n    yield 1\n    yield 2\nprint(sum(g()), sum(x for x in [3, 4]))\n")
    assert narrate(run.trace).text.split("\n")[-1] == (
        "Line 4: sum(g()) is 3 and sum([3, 4]) is 7, so it prints 3 7."
    )


def test_an_unknown_style_names_the_choices(traced):
    with pytest.raises(ValueError, match="compact"):
        narrate(traced("x = 1\n").trace, "terse")


def test_direct_has_the_output_and_no_words(traced):
    narration = narrate(traced("print(int(input()) + 1)", stdin="3\n").trace, style="direct")
    assert (narration.text, narration.output) == ("", "4\n")


def test_a_long_sequence_is_spelled_where_a_position_in_it_matters(traced):
    source = "s = 'hello wonderful'\na = list(range(20, 40))\nfor i in (7, 8):\n    s[i]\ns[0]\na[-9]\ns.find('f')\n"
    trace = traced(source).trace
    text = narrate(trace, "full").text
    spelled = [line for line in text.splitlines() if " by position: " in line]
    assert spelled[0].startswith("Line 4: s by position: 0 'h', 1 'e', 2 'l', 3 'l', 4 'o', 5 ' ', 6 'w', 7 'o', 8 'n'")
    assert spelled[1].startswith("Line 6: a by position: 0 20, 1 21, ") and len(spelled) == 2  # once for each value
    assert "s[7] is 'o'" in text
    near = narrate(traced("s = 'hello wonderful'\nprint(s[0], s[-1], s[1:], s[:-2])\n").trace, "full").text
    assert "by position" not in near
    other = text.replace("s by position: 0 'h'", "with its indices s reads 0='h'")
    assert check_claims(parse_claims(other, "full"), trace).ok
    for right, wrong in (("7 'o'", "7 'n'"), ("7 'o', 8 'n'", "7 'n', 8 'o'"), ("1 'e'", "1 'f'")):
        for told in (text, other):
            mistaken = told.replace(right, wrong, 1)
            assert mistaken != told and not check_claims(parse_claims(mistaken, "full"), trace).ok


def test_a_text_is_not_taken_for_one_that_had_its_place_in_memory(traced):
    source = (
        "for i in range(6):\n    c = ('abcdefghijkl' + str(i))[-7:]\n"
        "for i in range(4):\n    d = ('abcdefghijkl' + str(5))[-7:]\n"
    )
    text = narrate(traced(source).trace, "full").text
    assert text.count(" by position: ") == 6 + 1  # six texts by one name, and by another the same one every time
