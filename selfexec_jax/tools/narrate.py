"""Narrate many runs: `python -m selfexec_jax.tools.narrate PROGRAMS --out DIR [--styles full,brief]`."""

import argparse
import dataclasses
import functools
import json
import os
import pathlib
import sys

import tqdm

from selfexec_jax.text import SentencePieceTokenizer
from selfexec_jax.tools.given import complain
from selfexec_jax.traces.clean import clean
from selfexec_jax.traces.dataset import Recipe, build, check_recipe, jobs_of, summary
from selfexec_jax.traces.narrate import STYLES
from selfexec_jax.traces.teacher import Teacher


def main(argv=None):
    """Build or finish the data set and print what it holds; exit code 2 for bad input, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python -m selfexec_jax.tools.narrate", description=__doc__)
    parser.add_argument("programs", type=pathlib.Path, help="a folder of NAME.py (stdin in NAME.in), or a problem file")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the shards; begun ones are finished")
    known = ", ".join([*STYLES, "direct"])
    parser.add_argument("--styles", default="full", help=f"comma-separated: {known} (default full)")
    for field in dataclasses.fields(Recipe)[1:]:
        name = "--" + field.name.replace("_", "-")
        parser.add_argument(name, type=type(field.default), default=field.default, help=_HELP[field.name])
    parser.add_argument("--teacher", metavar="URL", help="OpenAI-compatible endpoint to ask for --asked and --reworded")
    parser.add_argument("--tokenizer", metavar="FILE", help="count tokens with this sentencepiece model")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (default: one a core)")
    parser.add_argument("--min-tier", default="uid_chroot", help="weakest protection to accept")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    args = parser.parse_args(argv)
    styles = tuple(args.styles.split(","))
    unknown = [style for style in styles if style not in STYLES and style != "direct"]
    if unknown:
        return complain(f"--styles: unknown style {unknown[0]!r}; choose from {known}")
    fields = {field.name: getattr(args, field.name) for field in dataclasses.fields(Recipe)[1:]}
    tokens = functools.partial(_count, args.tokenizer) if args.tokenizer else None
    try:
        if args.tokenizer:
            _count(args.tokenizer, "")
        recipe = Recipe(styles, **fields)
        needing = [name for name in ("asked", "reworded") if getattr(recipe, name)]
        if needing and not args.teacher:
            return complain(f"--{needing[0]} needs a --teacher to ask")
        if recipe.reworded and "full" not in styles:
            return complain("--reworded needs style full, which is what a teacher words")
        check_recipe(recipe, args.out)  # before a teacher is paid
        teacher = functools.partial(Teacher, args.teacher, recipe.teacher_model, attempts=recipe.reworded)
        ask = teacher(args.out / "inputs.jsonl").more_inputs if recipe.asked else None
        jobs = jobs_of(args.programs, recipe, ask)
        if not jobs:
            return complain(f"{args.programs}: no programs with inputs to run them on")
        with tqdm.tqdm(total=None, unit="shard", disable=None) as bar:
            for done, n in build(jobs, recipe, args.out, args.workers, args.min_tier, tokens, teacher):
                bar.total, bar.n = n, done
                bar.refresh()
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it was", file=sys.stderr)
        return 130
    except OSError as error:
        return complain(f"{error.filename or args.out}: {error.strerror or error}")
    except (ValueError, RuntimeError) as error:
        return complain(str(error))
    found = summary(args.out)
    print(json.dumps(found, indent=1) if args.json else _in_words(found))
    return 0


_HELP = {
    "inputs": "known inputs of a program that are narrated (default 3)",
    "mutated": "new inputs of a call-style program, mutated from known ones (default 0)",
    "asked": "new inputs of a call-style program, from a --teacher (default 0)",
    "reworded": "attempts of a --teacher at a narration, in style full, until one checks (default 0: our words)",
    "teacher_model": "the model to ask there",
    "solutions": "programs of a problem (default 1)",
    "per_shard": "runs a shard (default 500)",
    "cpu_s": "seconds of CPU a run (default 2)",
    "memory_mb": "MiB of memory a run (default 512)",
    "seed": "of the mutations (default 0)",
}


@functools.lru_cache(maxsize=1)
def _tokenizer(file):
    return SentencePieceTokenizer(file)


def _count(file, text):
    return len(_tokenizer(file).encode_answer(text))


def _in_words(found):
    rows, runs = found["rows"], found["runs"]
    lines = [f"{rows} of {runs} runs narrated, {found['programs']} programs, {found['events']} events"]
    for style, n in found["bytes"].items():
        tokens = f", {found['tokens'][style]} tokens" if found["tokens"] else ""
        lines.append(f"  {style}: {n} bytes{tokens}")
    lines += [f"left out, {reason}: {n}" for reason, n in found["left_out"].items()]
    return clean("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
