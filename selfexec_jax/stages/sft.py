"""Stage 2: supervised fine-tuning on narrated runs, and on demonstrations of solving and fixing."""

from __future__ import annotations

import logging
from contextlib import closing

from selfexec_jax.problems import Problem, Test
from selfexec_jax.problems.datasets import load_problems
from selfexec_jax.problems.generator import trapped
from selfexec_jax.self_execution.fix import Words
from selfexec_jax.stages import model as models
from selfexec_jax.stages.decontaminate import removed_rows
from selfexec_jax.stages.looking import Looking
from selfexec_jax.stages.metrics import Metrics
from selfexec_jax.stages.origin import origin_of
from selfexec_jax.stages.progress import time_left
from selfexec_jax.stages.telling import words_of
from selfexec_jax.stages.workdir import Workdir, WorkdirError
from selfexec_jax.tasks import fix, mixture, predict, propose, solve
from selfexec_jax.text import Tokenizer
from selfexec_jax.traces import Narration
from selfexec_jax.train import data, sft
from selfexec_jax.train.data import Example

log = logging.getLogger(__name__)


def run(config, workdir: Workdir) -> dict:
    """Trains from random or pretrained weights; leaves checkpoints/sft. Returns what was trained on."""
    if origin_of(config).runs:
        return {"skipped": f"init_from={config.init_from}"}
    if workdir.has_checkpoints("rl"):
        raise WorkdirError(f"{workdir.root}: has RL that grew from something else than its SFT; give another --workdir")
    loaded = models.load(config, workdir)
    tokenizer = loaded.tokenizer
    sets = build_examples(config, workdir, tokenizer)
    kept = {name: data.fits(examples, config.sft.row_tokens) for name, examples in sets.items()}
    dropped = {name: len(sets[name]) - len(kept[name]) for name in sets}
    mix = dict(config.sft.mix) | {path: share for path, share, _ in config.sft.sources}
    knobs = config.sft
    updates = data.PackedUpdates(
        kept, mix, knobs.batch_rows, knobs.row_tokens, config.seed, knobs.micro_batches, knobs.short_row_tokens
    )
    def write(step: int, values: dict) -> None:
        metrics.write(step, looking.with_memory(values))
        left = time_left(step, config.sft.steps, values["seconds"] / config.sft.log_every)
        log.info("sft %d/%d  loss %.4f  %.0f tokens/s  %s", step, config.sft.steps, values["loss"],
                 values["tokens_per_s"], left)  # fmt: skip

    with closing(Metrics(workdir, "sft", config.wandb)) as metrics, closing(Looking(config, workdir, "sft")) as looking:
        sft.train(
            config.sft, loaded.model, updates, loaded.mesh, config.seed, workdir.checkpoints / "sft", write,
            loaded.pretrained, workdir.hosts, looking,
        )  # fmt: skip
    return {"examples": {k: len(v) for k, v in kept.items()}, "too_long": dropped}


def build_examples(config, workdir: Workdir, tokenizer: Tokenizer) -> dict[str, list[Example]]:
    """Examples as token ids: `predict`, `solve`, `fix` and `propose`, and those of each further source by its path."""
    problems = load_problems(workdir.data / "train.jsonl")
    narrations = workdir.read_rows(workdir.data / "narrations.jsonl.gz")
    template = config.tasks.template

    def example(messages: list[dict], answer: str) -> Example:
        return Example(tokenizer.encode_prompt(messages), tokenizer.encode_answer(answer))

    predictions = [
        example(
            predict.render(row["source"], row["stdin"], template, state=state),
            predict.target(Narration(text, row["output"]), template, carried=carried),
        )
        for row in narrations
        if not row["is_left_to_rl"]
        for state, text, carried in row.get("chunks", [("", row["text"], "")])
    ]
    solutions = [
        example(solve.render(problem, template), solve.target(source, template))
        for problem in problems
        for source in (*problem.solutions, *(trapped(problem) if config.sft.learn_traps else ()))
    ]
    runs = {(row["source"], row["stdin"]): row for row in narrations}
    fixes = [example(*pair) for problem in problems for pair in _fixes(problem, runs, template, words_of(config))]
    of = {problem.id: problem for problem in problems}
    proposals = [
        example(propose.render(of[row["problem"]], template), propose.target(row["input"], template))
        for row in (workdir.read_rows(workdir.data / "telling_inputs.jsonl.gz") if config.sft.mix.propose else ())
    ]
    removed = removed_rows(workdir)
    more = {
        path: [
            example(*pair)
            for row, pair in enumerate(mixture.read(path, form, template, config.tasks.style), 1)
            if (path, row) not in removed
        ]
        for path, _, form in config.sft.sources
    }
    return {"predict": predictions, "solve": solutions, "fix": fixes, "propose": proposals, **more}


def _fixes(problem: Problem, runs: dict, template: str, words: Words | None) -> list[tuple[list[dict], str]]:
    """A near miss with what it really gave -> a right program; a right program -> submit."""
    right, wrong = problem.solutions[0], problem.wrong_solutions[0]
    passed = [fix.Feedback(t, t.output) for t in problem.public_tests]
    pairs = [(fix.render(problem, right, passed, template), fix.target(fix.Submit(), template))]
    given = [_given(t, runs.get((wrong, t.input)), words) for t in problem.public_tests]
    if any(not f.agrees for f in given):
        pairs.append((fix.render(problem, wrong, given, template), fix.target(problem.solutions[-1], template)))
    return pairs


def _given(test: Test, run: dict | None, words: Words | None) -> fix.Feedback:
    if run is None:
        return fix.Feedback(test, None)
    feedback = fix.Feedback(test, run["output"])
    return feedback.with_words(words(run["text"], test.output, run["source"])) if words else feedback
