"""Standard normal noise for pytrees: the one place where a key becomes numbers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import check_key


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
    keys = jax.random.split(key, len(leaves)) if len(leaves) > 1 else [key]
    noise = [
        jax.random.normal(k, shape + jnp.shape(leaf), jnp.promote_types(leaf.dtype, jnp.float32))
        for k, leaf in zip(keys, leaves, strict=False)
    ]
    return jax.tree.unflatten(treedef, noise)


def draw_key(key: Array, i: int | Array) -> Array:
    """The key of draw `i`: `fold_in`, so that a draw does not depend on how draws are grouped.

    >>> k = jax.random.key(0)
    >>> bool(draw_key(k, 3) == jax.random.fold_in(k, 3))
    True
    """
    return jax.random.fold_in(key, i)
