"""Stage 3: reinforcement learning on output prediction, solving and fixing, jointly."""

from __future__ import annotations

import logging
import random
from concurrent.futures import Future

from selfexec_jax.problems import Problem
from selfexec_jax.problems.datasets import load_problems
from selfexec_jax.problems.generator import input_size
from selfexec_jax.problems.judge import judge
from selfexec_jax.rollout import Request, Sample
from selfexec_jax.sandbox import Run, SandboxPool
from selfexec_jax.self_execution.simulate import request_seed
from selfexec_jax.stages import model as models
from selfexec_jax.stages.problems import is_left_to_rl, open_pool
from selfexec_jax.stages.workdir import Metrics, Workdir
from selfexec_jax.tasks import fix, predict, solve
from selfexec_jax.tasks.fix import Feedback, Submit
from selfexec_jax.train import rl
from selfexec_jax.train.rl import Group, Outcome, Prompt

log = logging.getLogger(__name__)


def run(config, workdir: Workdir) -> dict:
    """Trains from the SFT parameters; leaves checkpoints/rl and samples/. Returns what it trained on."""
    if not config.rl.steps:
        return {"skipped": "rl.steps=0"}
    loaded = models.load(config, workdir)
    params, engine = loaded.params("sft"), loaded.engine()
    with open_pool(config) as pool:
        material = _material(config, workdir, loaded, engine.load(params, 0), pool)
        pools = make_prompts(config, loaded.tokenizer, *material)
        metrics = Metrics(workdir, "rl")

        def write(step: int, line: dict, groups: list[Group]) -> None:
            metrics.write(step, line)
            _save_samples(config, workdir, step, groups)
            rewards = "  ".join(f"{k[7:]} {v:+.3f}" for k, v in line.items() if k.startswith("reward/"))
            log.info(
                "rl %d/%d  reward %s  kept %d/%d  entropy %.3f  gap %.1e  sampling %.1f s  waiting %.1f s"
                "  updating %.1f s",
                step, config.rl.steps, rewards, line["groups_kept"], line["groups"], line["entropy"],
                line["logprob_gap"], line["sampling_s"], line["waiting_s"], line["updating_s"],
            )  # fmt: skip

        rl.train(
            config.rl, loaded.model, engine, params, loaded.mesh, config.seed, workdir.checkpoints / "rl",
            lambda step, n: draw(config, pools, step, n),
            lambda prompt, sample: score(config, pool, prompt, sample),
            write,
        )  # fmt: skip
        metrics.close()
    return {"prompts": {task: len(prompts) for task, prompts in pools.items()}}


def _material(config, workdir: Workdir, loaded, engine, pool: SandboxPool) -> tuple[list[Problem], list[dict]]:
    """Training problems and what programs for them really give, the model's own programs among them.

    The model writes its programs once; they are kept in data/own_programs.jsonl.gz, so that a resumed run
    works on the same ones.
    """
    problems = load_problems(workdir.data / "train.jsonl")
    problems = random.Random(f"{config.seed}/rl").sample(problems, min(config.rl.problems, len(problems)))
    path = workdir.data / "own_programs.jsonl.gz"
    if not path.exists():
        sources = own_programs(config, loaded.tokenizer, engine, problems)
        workdir.write_rows(path, run_programs(config, problems, sources, pool))
    return problems, workdir.read_rows(path)


def own_programs(config, tokenizer, engine, problems: list[Problem]) -> list[list[str]]:
    """Distinct programs that the model writes for each problem, right or wrong."""
    requests = [
        Request(
            tuple(tokenizer.encode_prompt(solve.render(p, config.tasks.template))),
            n=config.rl.own_programs,
            max_new_tokens=config.rl.max_new_tokens,
            seed=request_seed(config.seed, "own", p.id),
        )
        for p in problems
    ]
    answers = engine.generate(requests)
    sources = ([solve.extract(s.text, config.tasks.template) for s in samples] for samples in answers)
    return [list(dict.fromkeys(s for s in found if s)) for found in sources]


def run_programs(config, problems: list[Problem], sources: list[list[str]], pool: SandboxPool) -> list[dict]:
    """Runs own programs and near misses on the public tests and on long inputs; one row a program."""
    jobs = []
    for problem, own in zip(problems, sources, strict=True):
        long = [t for t in problem.private_tests if input_size(t.input) >= config.rl.long_size][:2]
        for source, is_own in [(s, True) for s in own] + [(s, False) for s in problem.wrong_solutions[-1:]]:
            tests = [*problem.public_tests, *long]
            jobs.append((problem, source, is_own, tests, [pool.submit(Run(source, t.input)) for t in tests]))
    rows = []
    for problem, source, is_own, tests, futures in jobs:
        done = [f.result() for f in futures]
        outputs = [e.stdout if e.status == "ok" else None for e in done]
        n = len(problem.public_tests)
        rows.append(
            {"problem": problem.id, "source": source, "is_own": is_own, "public": outputs[:n],
             "long": [[t.input, o] for t, o in zip(tests[n:], outputs[n:], strict=True) if o is not None]}
        )  # fmt: skip
    return rows


def make_prompts(config, tokenizer, problems: list[Problem], rows: list[dict]) -> dict[str, list[Prompt]]:
    """All prompts by task. Output prediction holds what SFT did not narrate: long inputs and other forms."""
    template = config.tasks.template
    by_id = {p.id: p for p in problems}

    def prompt(task: str, name: str, messages: list[dict], subject) -> Prompt:
        return Prompt(task, name, tuple(tokenizer.encode_prompt(messages)), subject)

    pools: dict[str, list[Prompt]] = {"predict": [], "solve": [], "fix": []}
    for p in problems:
        pools["solve"].append(prompt("solve", p.id, solve.render(p, template), p))
    for i, row in enumerate(rows):
        problem, source = by_id[row["problem"]], row["source"]
        cases = row["long"][: config.rl.long_inputs]
        if is_left_to_rl(config, source):
            cases = list(row["long"])
            cases += [(t.input, o) for t, o in zip(problem.public_tests, row["public"], strict=True) if o is not None]
        for j, (given, output) in enumerate(cases):
            messages = predict.render(source, given, template)
            pools["predict"].append(prompt("predict", f"{i}/{j}", messages, output))
        feedback = [Feedback(t, o) for t, o in zip(problem.public_tests, row["public"], strict=True)]
        messages = fix.render(problem, source, feedback, template)
        pools["fix"].append(prompt("fix", str(i), messages, (problem, source)))
    longest = config.rl.row_tokens - config.rl.max_new_tokens
    return {task: [p for p in prompts if len(p.tokens) <= longest] for task, prompts in pools.items()}


def draw(config, pools: dict[str, list[Prompt]], step: int, n: int) -> list[Prompt]:
    """n prompts for a step, tasks by their shares: a function of the seed and the step alone."""
    rng = random.Random(f"{config.seed}/rl/{step}")
    tasks = [task for task in sorted(pools) if config.rl.share[task] > 0 and pools[task]]
    counts = {task: int(n * config.rl.share[task]) for task in tasks}
    for task in rng.choices(tasks, [config.rl.share[t] for t in tasks], k=n - sum(counts.values())):
        counts[task] += 1
    return [p for task in tasks for p in rng.sample(pools[task], min(counts[task], len(pools[task])))]


def score(config, pool: SandboxPool, prompt: Prompt, sample: Sample) -> Future[Outcome]:
    """The outcome of an answer, as a future: programs are judged in the sandbox, predictions compared here."""
    done: Future[Outcome] = Future()

    def give(label: str, is_right: bool | None) -> None:
        reward = None if is_right is None else config.rl.reward_right if is_right else config.rl.reward_wrong
        done.set_result(Outcome(reward, label))

    if sample.finish_reason == "too_long":  # the prompt's fault: no reward and no punishment
        give("too_long", None)
        return done
    if prompt.task == "predict":
        label = predict.grade(sample.text, prompt.subject, "stdio", sample.finish_reason).label
        give(label, label == "ok")
        return done
    problem, source = prompt.subject if prompt.task == "fix" else (prompt.subject, None)
    if sample.finish_reason == "length":
        give("truncated", False)
        return done
    if prompt.task == "fix":
        answer = fix.parse(sample.text, config.tasks.template)
        source = source if isinstance(answer, Submit) else answer
    else:
        source = solve.extract(sample.text, config.tasks.template)
    if source is None:
        give("no_answer", False)
        return done
    verdict = judge(source, problem, problem.public_tests + problem.private_tests, pool)
    verdict.add_done_callback(
        lambda v: give(v.result().status, {"passed": True, "failed": False}.get(v.result().status))
    )
    return done


def _save_samples(config, workdir: Workdir, step: int, groups: list[Group]) -> None:
    rng = random.Random(f"{config.seed}/kept/{step}")
    chosen = rng.sample(groups, min(config.rl.samples_kept, len(groups)))
    rows = [
        {"task": g.prompt.task, "prompt": g.prompt.name, "answer": s.text, "finish_reason": s.finish_reason,
         "label": o.label, "reward": o.reward, "advantage": float(a)}
        for g in chosen
        for s, o, a in zip(g.samples, g.outcomes, g.advantages, strict=True)
    ]  # fmt: skip
    workdir.write_rows(workdir.root / "samples" / f"step-{step}.host-0.jsonl.gz", rows)
