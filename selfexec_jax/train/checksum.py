"""What a state's arrays add up to: the same however they lie on devices, and another when a bit is."""

from __future__ import annotations

import jax
import jax.numpy as jnp

_WORDS = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}


def checksums(tree) -> dict[str, int]:
    """By path: the sum of each array's bits, read as whole numbers and each times an odd one that its place gives,
    modulo 2^32. Sums of whole numbers do not depend on their order, so no sharding changes them."""
    found = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
    return dict(zip(found, map(int, _sums(list(found.values()))), strict=True))


@jax.jit
def _sums(leaves: list[jax.Array]) -> list[jax.Array]:
    return [_sum(leaf) for leaf in leaves]


def _sum(array: jax.Array) -> jax.Array:
    words = jax.lax.bitcast_convert_type(array, _WORDS[array.dtype.itemsize]).astype(jnp.uint32)
    place = jnp.zeros(array.shape, jnp.uint32)
    for axis, n in enumerate(array.shape):
        place = place * jnp.uint32(n) + jax.lax.broadcasted_iota(jnp.uint32, array.shape, axis)
    return jnp.sum(words * (place * jnp.uint32(2654435761) * 2 + 1), dtype=jnp.uint32)
