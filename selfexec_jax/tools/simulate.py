"""What a trained model says that a program does, beside what it does:
`python -m selfexec_jax.tools.simulate FILE.py [--stdin F | --call "f(1)"] [--checkpoint DIR]`.

Without --checkpoint, the small model of the package is asked: it knows short programs on lists of small integers. Exit
code 0 where the predicted output is right, 1 where it is wrong, 2 for what cannot be simulated.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from typing import TYPE_CHECKING

from rich.text import Text

from selfexec_jax.checkpoints import TINY
from selfexec_jax.problems.compare import answers_match
from selfexec_jax.problems.endings import shown
from selfexec_jax.problems.judge import ending_of
from selfexec_jax.sandbox import Execution, Run, SandboxPool, SandboxTooWeak, TraceBudget
from selfexec_jax.tasks import predict
from selfexec_jax.tools import showing
from selfexec_jax.tools.given import complain, read, write
from selfexec_jax.traces import narrate, recorded_for, view
from selfexec_jax.traces.clean import clean

if TYPE_CHECKING:
    from selfexec_jax.self_execution import Prediction


def main(argv=None) -> int:
    """Simulate, then run; see the module's docstring for exit codes."""
    parser = argparse.ArgumentParser(prog="python -m selfexec_jax.tools.simulate", description=__doc__)
    parser.add_argument("file", help="the program")
    given = parser.add_mutually_exclusive_group()
    given.add_argument("--stdin", metavar="FILE", help="what the program reads; '-' for our own stdin")
    given.add_argument("--call", metavar="EXPR", help="simulate this call of the program, as in 'f(1)'")
    parser.add_argument("--checkpoint", default=str(TINY), help="a run directory or a checkpoint folder")
    parser.add_argument("--html", metavar="OUT", help="also write a page to step through both runs")
    parser.add_argument("--min-tier", default="uid_chroot", help="weakest protection to accept for the real run")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(argv)
    try:
        source = read(args.file)
        stdin = read(args.stdin) if args.stdin else None
        said = _simulated(args, source, stdin)
        run = Run(source, stdin=stdin, call=args.call)
        with SandboxPool(workers=1, min_tier=args.min_tier) as pool:  # what is traced may be cut short by its budget
            real, traced = pool.map([run, dataclasses.replace(run, trace=TraceBudget(of="both"))])
        return _show(args, *said, real, traced)
    except (OSError, ValueError, RuntimeError, SandboxTooWeak) as error:
        return complain(error)


def _simulated(args, source: str, stdin: str | None) -> tuple[Prediction, str]:
    """What the model says, and the style in which it tells."""
    from selfexec_jax.self_execution import Invocation, simulate  # jax, which a wrong file name need not wait for
    from selfexec_jax.tools.asked import opened

    asked = opened(args.checkpoint)
    kind, given = ("call", args.call) if args.call else ("stdio", stdin or "")
    run = Invocation(source, given, kind)
    ((prediction,),) = simulate(asked.engine, asked.tokenizer, [run], 1, 0, asked.simulating())
    if prediction.finish_reason == "too_long":
        longest = asked.config.rollout.cache_length - asked.config.eval.max_new_tokens
        raise ValueError(f"{args.file}: {prediction.n_prompt} tokens with its input; this model reads {longest}")
    return prediction, asked.config.tasks.style


def _show(args, prediction: Prediction, style: str, execution: Execution, traced: Execution) -> int:
    if traced.trace is None or execution.status in ("syntax_error", "infra_error"):
        return complain(f"{args.file}: {execution.status}: {execution.error or 'there is nothing to compare with'}")
    said = predict.narration_of(prediction.text)
    real = ending_of(execution) or (execution.value if args.call else execution.stdout)
    is_right = prediction.output == real
    if execution.status == "ok":
        is_right = answers_match("call" if args.call else "stdio", real, prediction.output)
    seen = None
    if style in view.STYLES:
        seen = view.seen(traced, os.path.basename(args.file), said, style)
    if args.html:
        write(args.html, view.page(traced, os.path.basename(args.file), said, style))
    if args.json:
        found = {"predicted": shown(prediction.output), "real": shown(real), "status": execution.status,
                 "is_right": is_right, "simulated": said, "tokens": prediction.n_tokens,
                 "cut_off": prediction.finish_reason != "stop",
                 "first_divergence": seen and seen["simulated"]["divergence"]}  # fmt: skip
        print(json.dumps(found, indent=1))
        return 0 if is_right else 1
    out = showing.console()
    if seen:
        out.print(showing.beside(seen))
        out.print(Text(f"\nfirst divergence: {seen['simulated']['divergence']}"))
    else:
        told = narrate(traced.trace, style).text if recorded_for(style) == "steps" else ""
        out.print(showing.one_after_the_other(said, told), "")
    if prediction.finish_reason != "stop":
        out.print(Text(f"the simulation was cut off after {prediction.n_tokens} tokens"))
    out.print("predicted", showing.value(prediction.output), "really", showing.value(real), showing.mark(is_right))
    if execution.status != "ok":
        out.print(Text(clean(f"({execution.status}: {execution.error})")))
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
