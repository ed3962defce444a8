"""A plan: what every phase of a config needs of a chip's memory, how long it takes at most, what limits it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from selfexec_jax.model.hf import target_of
from selfexec_jax.planning import arithmetic, programs
from selfexec_jax.planning.chips import Slice
from selfexec_jax.planning.programs import Compiled, Setting
from selfexec_jax.train.packing import row_shapes


@dataclasses.dataclass(frozen=True)
class Phase:
    """One kind of step. kept: bytes a chip by what they are; tokens: unpadded, of a step on all chips."""

    name: str
    kept: dict[str, int]
    programs: list[tuple[Compiled, float]]  # and how often each runs in a step
    steps: float
    tokens: float
    work: float  # operations of a step that the model's arithmetic asks for, on all chips

    @property
    def seconds(self) -> float:
        return sum(p.seconds * n for p, n in self.programs)

    @property
    def advice(self) -> str:
        """What to change where it does not fit."""
        temporary = max(p.temporary for p, _ in self.programs)
        kept, size = max(self.kept.items(), key=lambda item: item[1])
        if temporary > size:
            return "raise mesh.context or sft.micro_batches, or lower rl.micro_tokens, for smaller temporaries"
        if kept == "cache":
            return "lower rollout.slots or rollout.cache_length, or set rollout.int8_cache"
        if kept.endswith("sampler"):
            return "raise rollout.tensor"
        return "raise mesh.fsdp or mesh.tensor, or take more chips, for a smaller share of the optimizer's state"

    @property
    def memory(self) -> int:
        """Bytes a chip: what is kept, and the temporaries and code of the largest program."""
        return sum(self.kept.values()) + max(p.temporary + p.code for p, _ in self.programs)


@dataclasses.dataclass(frozen=True)
class Plan:
    where: Slice
    parameters: int
    phases: list[Phase]
    free: float  # share of the memory that is to stay free

    def mfu(self, phase: Phase) -> float:
        """Model FLOPs utilisation, at most: no recomputation counts, nor padding, nor attention between examples."""
        return phase.work / (phase.seconds * self.where.n_chips * self.where.chip.bf16_flops)

    def headroom(self, phase: Phase) -> float:
        return 1 - phase.memory / self.where.chip.memory

    def chip_hours(self, phase: Phase) -> float:
        return phase.seconds * phase.steps * self.where.n_chips / 3600

    @property
    def fits(self) -> bool:
        return all(self.headroom(phase) >= self.free for phase in self.phases)


def plan_of(s: Setting, tell: Callable[[str], None] = lambda text: None) -> Plan:
    """Compiles everything. `tell` hears what is being compiled."""
    config, cfg, chips = s.config, s.cfg, s.where.n_chips
    rl, plan, phases = config.rl, config.plan, []

    def shares(knobs) -> list[float]:
        """Of long rows among the tokens, and of short ones, where a stage has such."""
        return [plan.long_share, 1 - plan.long_share] if knobs.short_row_tokens else [1.0]

    if config.sft.steps:
        tell("SFT")
        knobs = config.sft
        (*parts, apply), kept = programs.sft_programs(s)
        tokens = knobs.batch_rows * knobs.row_tokens
        work = tokens * arithmetic.training(cfg, min(plan.example_tokens, knobs.row_tokens))
        updates = [(part, share * knobs.micro_batches) for part, share in zip(parts, shares(knobs), strict=True)]
        phases.append(Phase("SFT", kept, [*updates, (apply, 1)], knobs.steps, tokens, work))
    tell("rollouts")
    (prefill, decoding), sampler = programs.rollout_programs(s)
    engine = config.rollout
    slots = engine.slots * chips / s.where.chips_a_host
    length = plan.prompt_tokens + plan.answer_tokens
    answers = rl.prompts * rl.group_size

    def sampling(n: float) -> list[tuple[Compiled, float]]:
        """Programs for n answers; the prompt of a group is read once."""
        prompts = n / rl.group_size
        lanes = chips / engine.tensor
        return [
            (prefill, prompts * plan.prompt_tokens / engine.prefill_tokens / lanes),
            (decoding, n * plan.answer_tokens / slots),
        ]

    if rl.steps:
        tell("RL")
        (*parts, apply), kept = programs.rl_programs(s)
        learned = answers * length
        work = learned * arithmetic.training(cfg, length)
        sizes = [counts[0] * row for row, counts in row_shapes(rl, s.mesh).items()]
        updates = [(part, share * learned / size) for part, share, size in zip(parts, shares(rl), sizes, strict=True)]
        phases.append(Phase("RL update", kept | sampler, [*updates, (apply, rl.updates)], rl.steps, learned, work))
        work = answers * plan.answer_tokens * arithmetic.forward(cfg, length)
        tokens = answers * plan.answer_tokens
        drawn = [*((part, 1) for part in programs.reshard(s)), *sampling(answers)]
        phases.append(Phase("RL sampling", kept | sampler, drawn, rl.steps, tokens, work))
    answers = _evaluated(config)
    work = answers * plan.answer_tokens * arithmetic.forward(cfg, length)
    kept = {"parameters": programs.bytes_a_chip(target_of(s.model, mesh=s.mesh))} | sampler
    phases.append(Phase("evaluation", kept, sampling(answers), 1, answers * plan.answer_tokens, work))
    return Plan(s.where, arithmetic.matrix_parameters(cfg), phases, plan.headroom)


def _evaluated(config) -> float:
    """Answers of an evaluation, at most: candidates, their simulations, and Self-RLEF's turns with theirs; not its
    controls, belief, tests of its own, and outputs that are predicted for themselves."""
    knobs = config.eval
    problems = config.problems.n_heldout + config.problems.n_unseen
    simulations = 1 + config.problems.n_public * knobs.votes
    turns = knobs.episodes * (knobs.max_fixes + 1)
    return problems * (knobs.candidates * simulations + turns * simulations + knobs.more_candidates)
