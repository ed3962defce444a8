"""Traces made in this process, without the sandbox: for programs that the tests themselves wrote."""

import builtins
import dataclasses
import io
import sys
import types

from selfexec_jax.sandbox.events import read_events
from selfexec_jax.sandbox.tracer import Tracer
from selfexec_jax.sandbox.types import Trace, TraceBudget

READ_AND_SUM = """n = int(input())
a = list(map(int, input().split()))
t = 0
for x in a:
    if x % 3 == 1:
        t += x * 2
print(t)
"""


@dataclasses.dataclass
class Traced:
    trace: Trace
    stdout: str
    value: object
    error: BaseException | None


def run_traced(source, stdin="", call=None, budget=None) -> Traced:
    tracer = Tracer(source, dataclasses.asdict(budget or TraceBudget()))
    code = tracer.compile("<program>")
    module = types.ModuleType("__main__")
    before = sys.stdin, sys.stdout
    sys.stdin, sys.stdout = io.StringIO(stdin), io.StringIO()
    out, value, error = sys.stdout, None, None
    vars(builtins).update(tracer.names())
    try:
        with tracer:
            exec(code, vars(module))
            if call:
                tracer.log.asks(call)
                value = eval(call, vars(module))
                tracer.log.answers(value)
    except Exception as raised:
        error = raised
    finally:
        sys.stdin, sys.stdout = before
        for name in tracer.names():
            delattr(builtins, name)
    result = tracer.result()
    assert not result["tampered"]
    trace = Trace(source, tuple(read_events(result, {})), result["stop"])
    return Traced(trace, out.getvalue(), value, error)
