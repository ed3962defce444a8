"""Take a model home: `python -m selfexec_jax.tools.convert --from DIR --to DIR [--dtype bfloat16]`.

--from: a run of ours (its RL parameters, else those of SFT), or a Hugging Face folder; --to: a new Hugging Face folder.
"""

import argparse
import json
import logging
import sys

import tqdm

from selfexec_jax.model import hf
from selfexec_jax.stages import model as models
from selfexec_jax.stages.origin import origin_of
from selfexec_jax.stages.workdir import Workdir, config_of


def main(argv=None) -> int:
    """Convert and say what was written; exit code 2 for bad input, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python -m selfexec_jax.tools.convert", description=__doc__)
    parser.add_argument("--from", dest="source", required=True, help="a run directory or a Hugging Face folder")
    parser.add_argument("--to", required=True, help="the folder to write, on a disk or in a bucket")
    parser.add_argument("--stage", choices=("rl", "sft"), help="of a run: whose parameters (default: rl if there)")
    parser.add_argument("--dtype", choices=tuple(hf.DTYPES), default="bfloat16", help="of the file (default bfloat16)")
    parser.add_argument("--json", action="store_true", help="say what was written as JSON")
    args = parser.parse_args(argv)
    logging.getLogger("absl").setLevel(logging.ERROR)
    try:
        found = _convert(args)
    except KeyboardInterrupt:
        print(f"interrupted; {args.to} is not whole (it has no config.json): remove it", file=sys.stderr)
        return 130
    except (OSError, ValueError, RuntimeError) as error:
        print(str(error).replace("\n", " "), file=sys.stderr)
        return 2
    print(json.dumps(found) if args.json else f"{found['to']}: {found['parameters']:,} parameters in {found['dtype']}")
    return 0


def _convert(args) -> dict:
    config = config_of(args.source)
    with config.unlocked():
        config.init_from = args.source
    origin = origin_of(config)
    show = lambda names: tqdm.tqdm(names, unit="tensor", disable=None)  # noqa: E731
    if not origin.runs:
        stage, (model, params) = None, hf.load(args.source, args.dtype, progress=show)
    else:
        with config.unlocked():
            # The machine that converts need not be the one that trained.
            config.mesh.fsdp = config.mesh.tensor = config.mesh.context = 1
        loaded = models.load(config, Workdir(args.source))
        stage = args.stage or ("rl" if loaded.has("rl") else "sft")
        model, params = loaded.model, loaded.params(stage)
    like = origin.pretrained or str(Workdir(origin.runs[-1]).tokenizer.parent)
    hf.save(args.to, model, params, args.dtype, like, show)
    n = sum(a.size for name, a in params.items() if "_lora_" not in name)
    return {"from": args.source, "stage": stage, "to": args.to, "dtype": args.dtype, "parameters": n}


if __name__ == "__main__":
    sys.exit(main())
