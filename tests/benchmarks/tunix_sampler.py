"""The sampler of google-tunix as a process of its own environment, for tests/benchmarks/engine.py.

`PYTHON tunix_sampler.py FOLDER PROMPT NEW`: loads a Llama checkpoint, then for each line of prompts as JSON on standard
input samples `NEW` tokens of each and answers with the seconds that it took.
"""

import json
import sys
import time

import jax
import jax.numpy as jnp
from tunix.generate.sampler import CacheConfig, Sampler
from tunix.models.llama3 import model, params


class Numbers:
    """Prompts are numbers; the sampler puts the first before them itself."""

    def encode(self, text, **_):
        return [int(number) for number in text.split()]

    def decode(self, ids, **_):
        return ""

    def bos_id(self):
        return 2

    def eos_id(self):
        return 1

    def pad_id(self):
        return 0


def main():
    folder, prompt, new = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with open(f"{folder}/config.json") as file:
        c = json.load(file)
    shape = model.ModelConfig(
        num_layers=c["num_hidden_layers"], vocab_size=c["vocab_size"], embed_dim=c["hidden_size"],
        hidden_dim=c["intermediate_size"], num_heads=c["num_attention_heads"], head_dim=c["head_dim"],
        num_kv_heads=c["num_key_value_heads"], rope_theta=c["rope_theta"], norm_eps=c["rms_norm_eps"],
        weight_tying=c["tie_word_embeddings"],
    )  # fmt: skip
    mesh = jax.make_mesh((1, 1), ("fsdp", "tp"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    with jax.set_mesh(mesh):
        loaded = params.create_model_from_safe_tensors(folder, shape, mesh, jnp.float32)
        cache = CacheConfig(prompt + new, shape.num_layers, shape.num_kv_heads, shape.head_dim)
        sampler = Sampler(loaded, Numbers(), cache)
        for line in sys.stdin:
            asked = [" ".join(map(str, row[1:])) for row in json.loads(line)]
            began = time.perf_counter()
            found = sampler(asked, max_generation_steps=new, max_prompt_length=prompt, eos_tokens=[-1])
            assert all(len(tokens) == new for tokens in found.tokens)
            print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
