"""Standard normal noise for pytrees: the one place where a key becomes numbers."""

from __future__ import annotations

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import check_key

# Up to so many numbers, one call for the whole tree costs less than the calls; beyond, cutting it up costs more.
_DRAWN_AT_ONCE = 2**14


def normal_like(key: Array, tree: Any, shape: tuple[int, ...] = ()) -> Any:
    """Independent N(0, 1) for every entry of a pytree of arrays.

    Args:
        key: one key of `jax.random.key`.
        tree: arrays, or anything with a shape and a floating dtype.
        shape: leading axes put before each leaf's own, for several draws at once.
    Returns:
        The same pytree, each leaf `shape + leaf.shape` in its dtype, but at least float32.

    >>> normal_like(jax.random.key(0), {"w": jnp.zeros((2, 3))}, shape=(5,))["w"].shape
    (5, 2, 3)
    """
    check_key(key)
    leaves, treedef = jax.tree.flatten(tree)
    shapes = [shape + jnp.shape(leaf) for leaf in leaves]
    dtypes = [jnp.promote_types(leaf.dtype, jnp.float32) for leaf in leaves]
    sizes = [math.prod(s) for s in shapes]
    if len(leaves) > 1 and sum(sizes) <= _DRAWN_AT_ONCE and len(set(dtypes)) == 1:
        flat = jax.random.normal(key, (sum(sizes),), dtypes[0])
        parts = jnp.split(flat, list(itertools.accumulate(sizes))[:-1])
        return treedef.unflatten([part.reshape(s) for part, s in zip(parts, shapes, strict=True)])
    keys = [key] if len(leaves) == 1 else jax.random.split(key, len(leaves))
    noise = [jax.random.normal(k, s, dtype) for k, s, dtype in zip(keys, shapes, dtypes, strict=True)]
    return treedef.unflatten(noise)


def draw_key(key: Array, i: int | Array) -> Array:
    """The key of draw `i`: `fold_in`, so that a draw does not depend on how draws are grouped.

    >>> k = jax.random.key(0)
    >>> bool(draw_key(k, 3) == jax.random.fold_in(k, 3))
    True
    """
    return jax.random.fold_in(key, i)
