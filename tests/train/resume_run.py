"""An RL run on a toy question, for the test that kills it: `python resume_run.py DIRECTORY STEPS STALENESS`."""

import sys

import jax

from selfexec_jax.hosts import EXIT_CODE
from selfexec_jax.model.sharding import make_mesh
from selfexec_jax.train import rl, stopping
from tests.train.knobs import knobs
from tests.train.toy import Toy, prompts, right, small_engine, small_model


def main(directory, steps, staleness):
    options = knobs(
        steps=steps, prompts=2, group_size=8, max_new_tokens=4, learning_rate=1e-2, warmup_steps=1, grad_clip=1.0,
        weight={"toy": 1.0}, row_tokens=16, micro_tokens=64, checkpoint_every=2, staleness=staleness,
        updates=2 if staleness else 1, validate_every=3, validation_samples=2,
    )  # fmt: skip
    model, params = small_model()
    toy = Toy(prompts((3, 5), (4, 5)), lambda prompt, turns: right(7 in turns[-1].sample.tokens), slow_s=0.02)
    toy.held_back = prompts((6, 5))
    engine = small_engine(model, slots=8)

    def log(step, line, groups):
        print(step, line.get("reward/toy"), line.get("groups_kept"), line.get("validation"), toy.learned, flush=True)

    stopping.listen()
    try:
        rl.train(options, model, engine, lambda: params, make_mesh(devices=jax.devices()[:1]), 0, directory, toy, log)
    except stopping.Stopped as stopped:
        print(stopped)
        sys.exit(EXIT_CODE)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
