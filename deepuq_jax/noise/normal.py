"""Standard normal noise for pytrees: the one place where a key becomes numbers."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import check_key
from deepuq_jax.noise.threefry import threefry_normal


def normal_like(key: Array, tree: Any, shape: tuple[int, ...] = ()) -> Any:
    """Independent N(0, 1) for every entry of a pytree of arrays.

    The key chooses the generator. A Threefry key (JAX's default) draws float32 by `threefry_normal`, which costs a
    fraction of `jax.random.normal`; a key of another implementation, such as `jax.random.key(0, impl="rbg")`, and
    float64 go through `jax.random.normal`.

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
    noise = [_normal(key, i, shape + jnp.shape(leaf), leaf.dtype) for i, leaf in enumerate(leaves)]
    return treedef.unflatten(noise)


def _normal(key: Array, i: int, shape: tuple[int, ...], dtype: Any) -> Array:
    """The noise of leaf `i`."""
    dtype = jnp.promote_types(dtype, jnp.float32)
    is_threefry = str(jax.random.key_impl(key)) == "threefry2x32"
    if is_threefry and dtype == jnp.float32 and math.prod(shape) < 2**32:
        return threefry_normal(jax.random.key_data(key), shape=shape, tag=i)
    return jax.random.normal(jax.random.fold_in(key, i), shape, dtype)


def draw_key(key: Array, i: int | Array) -> Array:
    """The key of draw `i`: `fold_in`, so that a draw does not depend on how draws are grouped.

    >>> k = jax.random.key(0)
    >>> bool(draw_key(k, 3) == jax.random.fold_in(k, 3))
    True
    """
    return jax.random.fold_in(key, i)
