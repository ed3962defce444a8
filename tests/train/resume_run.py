"""An RL run on a toy question, for the test that kills it: `python resume_run.py DIRECTORY STEPS`."""

import sys
import time
from concurrent.futures import Future
from types import SimpleNamespace

import jax
import jax.numpy as jnp

from selfexec_jax.model import ModelConfig, Transformer
from selfexec_jax.model.sharding import make_mesh
from selfexec_jax.rollout import Engine
from selfexec_jax.train import rl
from selfexec_jax.train.rl import Outcome, Prompt


class Tokens:
    """A tokenizer of single characters that never meets text."""

    pad_id, end_id = 0, 1

    def decode(self, ids):
        return " ".join(map(str, ids))


def main(directory, steps):
    knobs = SimpleNamespace(
        optimizer="adamw", steps=steps, prompts=2, group_size=8, max_new_tokens=4, temperature=1.0, updates=1,
        learning_rate=1e-2,
        warmup_steps=1, clip_low=0.2, clip_high=0.25, grad_clip=1.0, beta2=0.95, weight={"toy": 1.0}, row_tokens=16,
        micro_rows=4, checkpoint_every=2, reward_right=1.0,
    )  # fmt: skip
    model = Transformer(ModelConfig(12, 16, 1, 2, 2, 8, 16))
    params = model.init(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))["params"]
    engine = Engine(model, Tokens(), slots=8, cache_length=16, prompt_buckets=(8,), steps_per_dispatch=2)
    prompts = [Prompt("toy", str(i), (3 + i, 5), None) for i in range(2)]

    def score(prompt, sample):
        done = Future()
        done.set_result(Outcome(1.0 if 7 in sample.tokens else -1.0, "toy"))
        return done

    def log(step, line, groups):
        print(step, line["reward/toy"], line["groups_kept"], flush=True)
        time.sleep(0.2)  # room for a kill between the steps

    rl.train(knobs, model, engine, params, make_mesh(), 0, directory, lambda step, n: prompts[:n], score, log)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
