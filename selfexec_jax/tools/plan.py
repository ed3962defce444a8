"""What a config would need on a slice of TPUs, and how long it would take, compiled without one:
`python -m selfexec_jax.tools.plan --config=configs/qwen2p5_7b.py --topology=v5p:4x4x4`.

Needs libtpu (`pip install selfexec_jax[tpu]`), no TPU. Times are lower bounds, so MFU is an upper one. Exit code 1 when
less memory stays free than `plan.headroom` asks for, 2 for bad input.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

NOT_MODELLED = (
    "loading and saving, compiling, the input pipeline, rewards and the sandbox, slots that stand empty, memory that is"
    " fragmented, collectives that wait for a slower chip"
)


def main(argv=None) -> int:
    """Compile, print; see the module's docstring for exit codes."""
    parser = argparse.ArgumentParser(prog="python -m selfexec_jax.tools.plan", description=__doc__)
    parser.add_argument("--config", required=True, help="a config file, with an ablation after a colon")
    parser.add_argument("--topology", required=True, help="v5p:4x4x4, or an accelerator name, v5p-128")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="a field of the config")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(argv)
    from selfexec_jax.planning.chips import compiler_environment, slice_named

    try:
        where, config = slice_named(args.topology), _config(args)
        os.environ |= compiler_environment(where.chip)
        os.environ.setdefault("LIBTPU_INIT_ARGS", config.mesh.tpu_flags)
        from selfexec_jax.planning.plan import plan_of
        from selfexec_jax.planning.programs import TooLarge, setting_of

        try:
            s = setting_of(config, where)
            plan = plan_of(s, lambda text: print(f"compiling: {text}", file=sys.stderr))
        except TooLarge as error:
            print(f"DOES NOT FIT: {error}; take more chips, raise mesh.fsdp, or lower what it holds")
            return 1
    except (OSError, ValueError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except ImportError as error:
        print(f"error: {error}; pip install 'selfexec_jax[tpu]'", file=sys.stderr)
        return 2
    print(json.dumps(_plain(plan), indent=1) if args.json else _text(plan))
    return 0 if plan.fits else 1


def _config(args):
    from selfexec_jax.tools.configs import changed, config_file

    path, _, row = args.config.partition(":")
    load, _ = config_file(path)
    try:
        return changed(load(row or None), args.set)
    except (KeyError, AttributeError) as error:
        raise ValueError(str(error)) from None


def _plain(plan) -> dict:
    return {
        "topology": plan.where.topology, "accelerator": plan.where.accelerator, "chips": plan.where.n_chips,
        "fits": plan.fits, "matrix_parameters": plan.parameters, "not_modelled": NOT_MODELLED,
        "phases": [
            {"name": phase.name, "kept": phase.kept, "memory": phase.memory, "headroom": plan.headroom(phase),
             "seconds": phase.seconds, "mfu": plan.mfu(phase), "tokens_per_s": phase.tokens / phase.seconds,
             "steps": phase.steps, "chip_hours": plan.chip_hours(phase),
             "programs": [
                 {"name": p.name, "runs": n, "seconds": p.seconds, "temporary": p.temporary, "code": p.code,
                  "kernels_s": p.kernels_s, "compute_s": p.costs.compute_s, "memory_s": p.costs.memory_s,
                  "busy_s": p.costs.busy_s, "network_s": p.costs.network_s, "exposed_s": p.costs.exposed_s,
                  "flops": p.costs.flops, "memory_bytes": p.costs.memory_bytes, "sent": p.costs.sent}
                 for p, n in phase.programs
             ]}
            for phase in plan.phases
        ],
    }  # fmt: skip


def _text(plan) -> str:
    where, gib = plan.where, 2**30
    lines = [
        f"{where.topology} ({where.accelerator}): {where.n_chips} chips with {where.chip.memory / gib:.0f} GiB,"
        f" {where.chip.bf16_flops / 1e12:.0f} TFLOP/s; {plan.parameters / 1e9:.2f} billion parameters in products", "",
        "| phase | kept, GiB a chip | temporary | free | step, s | tokens/s | MFU at most | steps | chip-hours |",
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for phase in plan.phases:
        kept = ", ".join(f"{name} {size / gib:.2f}" for name, size in phase.kept.items())
        temporary = (phase.memory - sum(phase.kept.values())) / gib
        lines.append(
            f"| {phase.name} | {kept} | {temporary:.2f} | {plan.headroom(phase):.0%} | {phase.seconds:.3g} |"
            f" {phase.tokens / phase.seconds:,.0f} | {plan.mfu(phase):.1%} | {phase.steps:,} |"
            f" {plan.chip_hours(phase):,.0f} |"
        )
    lines += ["", "| program | runs a step | s | products | memory | attention kernel | exposed collectives |"
              " busiest link | limited by | sent, MiB a chip |", "|" + 10 * "---|"]  # fmt: skip
    seen = set()
    for phase in plan.phases:
        for p, n in phase.programs:
            if p.name in seen:
                continue
            seen.add(p.name)
            sent = ", ".join(f"{kind} {size / 2**20:,.1f}" for kind, size in p.costs.sent.items()) or "nothing"
            lines.append(
                f"| {p.name} | {n:.3g} | {p.seconds:.3g} | {p.costs.compute_s:.3g} | {p.costs.memory_s:.3g} |"
                f" {p.kernels_s:.3g} | {p.costs.exposed_s:.3g} | {p.costs.network_s:.3g} | {p.limit} | {sent} |"
            )
    lines += ["", f"Not modelled: {NOT_MODELLED}."]
    for phase in plan.phases:
        if plan.headroom(phase) < plan.free:
            over = (plan.free - plan.headroom(phase)) * where.chip.memory / gib
            lines.append(f"DOES NOT FIT: {phase.name} is {over:.2f} GiB a chip above what leaves {plan.free:.0%} free;"
                         f" {phase.advice}")  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
