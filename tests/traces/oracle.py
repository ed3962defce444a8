"""A second opinion on claims: runs a program under `sys.settrace` and looks; shares no code with the tracer.

A probe is (line, occurrence, expression, literal): after the line ran for the so-manieth time, the expression
has that value; or (line, occurrence, None, N or -N): the next line of the same frame is N, or is not N.
"""

import ast
import io
import sys


def refuted(source, probes, call=None, stdin=""):
    """The probes that do not hold, and those that were never come by."""
    waiting = {}
    for probe in probes:
        waiting.setdefault(tuple(probe[:2]), []).append(probe)
    seen, due, bad = {}, {}, []

    def look(frame, line):
        for probe in due.pop(frame, ()):
            expression, wanted = probe[2:]
            if expression is None:
                good = (line == wanted) if wanted > 0 else (line != -wanted)
            else:
                value = eval(expression, frame.f_globals, frame.f_locals)
                good = repr(value) == repr(ast.literal_eval(wanted))
            if not good:
                bad.append(probe)

    def trace(frame, event, _):
        if frame.f_code.co_filename != "<program>":
            return None
        if event in ("line", "return"):
            look(frame, frame.f_lineno if event == "line" else 0)
        if event == "line":
            seen[frame.f_lineno] = seen.get(frame.f_lineno, 0) + 1
            due[frame] = waiting.pop((frame.f_lineno, seen[frame.f_lineno]), [])
        return trace

    before = sys.stdin, sys.stdout
    sys.stdin, sys.stdout = io.StringIO(stdin), io.StringIO()
    space = {"__name__": "__main__" if call is None else "program"}
    try:
        code = compile(source, "<program>", "exec")
        if call is None:
            sys.settrace(trace)
        exec(code, space)
        sys.settrace(trace)
        if call is not None:
            eval(call, space)
    except BaseException:
        pass
    finally:
        sys.settrace(None)
        sys.stdin, sys.stdout = before
    return bad, [probe for probes in waiting.values() for probe in probes]
