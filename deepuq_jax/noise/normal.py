"""Standard normal noise for pytrees.

All normal numbers that a model uses are drawn here.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import check_key
from deepuq_jax.noise.threefry import threefry_normal


def normal_like(key: Array, tree: Any, shape: tuple[int, ...] = ()) -> Any:
    """Draw independent N(0, 1) numbers for a pytree of arrays.

    The key selects the generator. A Threefry key (the default of JAX) draws float32 numbers by `threefry_normal`, which
    is several times as fast as `jax.random.normal` on a CPU. Keys of other implementations, such as
    `jax.random.key(0, impl="rbg")`, and float64 numbers use `jax.random.normal`.

    Args:
        key: a key of `jax.random.key`.
        tree: a pytree of arrays, or of any leaves with a shape and a floating dtype.
        shape: leading axes to add to each leaf, for several draws at once.
    Returns:
        A pytree like `tree`. Each leaf has shape `shape + leaf.shape` and the dtype of the leaf, but at least float32.

    >>> normal_like(jax.random.key(0), {"w": jnp.zeros((2, 3))}, shape=(5,))["w"].shape
    (5, 2, 3)
    """
    check_key(key)
    leaves, treedef = jax.tree.flatten(tree)
    noise = [_normal(key, i, shape + jnp.shape(leaf), leaf.dtype) for i, leaf in enumerate(leaves)]
    return treedef.unflatten(noise)


def _normal(key: Array, i: int, shape: tuple[int, ...], dtype: Any) -> Array:
    """Draw the noise of leaf `i`."""
    dtype = jnp.promote_types(dtype, jnp.float32)
    is_threefry = str(jax.random.key_impl(key)) == "threefry2x32"
    if is_threefry and dtype == jnp.float32 and math.prod(shape) < 2**32:
        return threefry_normal(jax.random.key_data(key), shape=shape, tag=i)
    return jax.random.normal(jax.random.fold_in(key, i), shape, dtype)


def draw_key(key: Array, i: int | Array) -> Array:
    """Derive the key of draw `i`.

    It is ``fold_in(key, i)``, so a draw does not depend on how the draws are grouped.

    >>> k = jax.random.key(0)
    >>> bool(draw_key(k, 3) == jax.random.fold_in(k, 3))
    True
    """
    return jax.random.fold_in(key, i)
