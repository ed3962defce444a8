"""Take a model home: `python -m selfexec_jax.tools.convert --from DIR --to DIR [--dtype bfloat16]`.

--from: a run of ours (its RL parameters, else those of SFT), or a Hugging Face folder; --to: a new Hugging Face folder.
"""

import argparse
import json
import logging
import posixpath
import sys

import fsspec
import tqdm

from selfexec_jax.model import hf
from selfexec_jax.stages import model as models
from selfexec_jax.stages.origin import origin_of
from selfexec_jax.stages.workdir import TAKEN_HOME, Workdir, config_of
from selfexec_jax.tools.given import complain


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
        return complain(error)
    print(json.dumps(found) if args.json else f"{found['to']}: {found['parameters']:,} parameters in {found['dtype']}")
    return 0


def _convert(args) -> dict:
    loaded, show = None, lambda names: tqdm.tqdm(names, unit="tensor", disable=None)
    config = config_of(args.source)
    with config.unlocked():
        config.init_from = args.source
    origin = origin_of(config)
    if not origin.runs:
        stage, (model, params) = None, hf.load(args.source, args.dtype, progress=show)
    else:
        loaded = models.trained(args.source)
        stage = args.stage or loaded.last()
        model, params = loaded.model, loaded.params(stage)
    like = origin.pretrained or str(Workdir(origin.runs[-1]).tokenizer.parent)
    hf.save(args.to, model, params, args.dtype, like, show)
    if loaded or _exists(args.source, TAKEN_HOME):
        _remember(args.to, loaded.config if loaded else config)
    n = sum(a.size for name, a in params.items() if "_lora_" not in name)
    return {"from": args.source, "stage": stage, "to": args.to, "dtype": args.dtype, "parameters": n}


def _exists(folder: str, name: str) -> bool:
    fs, path = fsspec.core.url_to_fs(posixpath.join(folder, name))
    return fs.exists(path)


def _remember(folder: str, config) -> None:
    """Writes how the run asked its model, which its name and shape do not say."""
    kept = json.loads(config.to_json_best_effort()) | {"init_from": "", "checkpoints": ""}
    kept["model"]["rope_scale"] = 1.0  # the folder's own shape has it
    with fsspec.open(posixpath.join(folder, TAKEN_HOME), "w") as file:
        json.dump(kept, file, indent=1)


if __name__ == "__main__":
    sys.exit(main())
