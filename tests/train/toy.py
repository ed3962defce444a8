"""A toy to train on: prompts of letters, and rewards that a function of the answers gives."""

import threading
import time
from concurrent.futures import Future

import jax
import jax.numpy as jnp

from selfexec_jax.model import ModelConfig, Transformer
from selfexec_jax.rollout import Engine
from selfexec_jax.train.rollouts import Ask, Outcome, Prompt


class Letters:
    """A tokenizer of single characters that never meets text."""

    pad_id, end_id = 0, 1

    def decode(self, ids):
        return " ".join(map(str, ids))


class Toy:
    """An environment: `judge(prompt, turns)` gives an Outcome, or the tokens of the next prompts.

    It counts what it was asked and told, and that is its state. With `slow_s` an outcome comes later, from a thread.
    """

    def __init__(self, prompts, judge, slow_s=0.0):
        self.prompts, self.judge, self.slow_s = prompts, judge, slow_s
        self.learned, self.drawn, self.held_back = 0, [], []

    def draw(self, step, n):
        self.drawn.append((step, self.learned))
        return self.prompts[:n]

    def react(self, prompt, turns):
        said = self.judge(prompt, turns)
        done = Future()
        if isinstance(said, Outcome) and self.slow_s:
            threading.Thread(target=lambda: (time.sleep(self.slow_s), done.set_result(said))).start()
            return done
        done.set_result(said)
        return done if isinstance(said, Outcome) else Ask(done)

    def learn(self, groups):
        self.learned += len(groups)

    def validation(self):
        return self.held_back

    def state(self):
        return {"learned": self.learned}

    def restore(self, state):
        self.learned = state["learned"]


def right(is_right, **more):
    return Outcome(1.0 if is_right else -1.0, "ok" if is_right else "wrong", bool(is_right), **more)


def prompts(*tokens, task="toy"):
    return [Prompt(task, str(i), tuple(t)) for i, t in enumerate(tokens)]


def small_model(vocab_size=12):
    model = Transformer(ModelConfig(vocab_size, 16, 1, 2, 2, 8, 32, query_block=8))
    return model, jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8), jnp.int32))["params"]


def small_engine(model, tokenizer=None, slots=32, **more):
    more = {"cache_length": 16, "prompt_buckets": (8,), "prefill_tokens": 32, "steps_per_dispatch": 2} | more
    return Engine(model, tokenizer or Letters(), slots=slots, devices=jax.devices()[:1], **more)
