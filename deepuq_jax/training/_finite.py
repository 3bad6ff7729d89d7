"""Checks that every number of a step is finite, in the form that a platform computes fastest."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax.functional.gaussian import at_least_float32, total


def all_finite(tree: Any) -> Array:
    """Whether every entry is finite.

    If an entry is not finite, neither is the sum of the entries.
    """
    return jax.lax.platform_dependent(jax.tree.leaves(tree), cpu=_each_sum, default=_joint_sum)


def starts_finite(tree: Any) -> Array:
    """Whether the first entries of all tensors are finite.

    A NaN learning rate shows in every entry of an update, so the first suffice, and XLA computes few others.
    """
    return jax.lax.platform_dependent(jax.tree.leaves(tree), cpu=_first_rows, default=_first_entries)


def _each_sum(leaves: list[Array]) -> Array:
    """Sum each tensor as a product with ones, which takes a quarter of the time of `all(isfinite)`."""
    return jnp.isfinite(functools.reduce(jnp.add, [total(at_least_float32(leaf)) for leaf in leaves]))


def _joint_sum(leaves: list[Array]) -> Array:
    """Add tensors of the same shape first, so that a GPU sums them in one kernel."""
    groups: dict[Any, list[Array]] = {}
    for leaf in leaves:
        groups.setdefault((leaf.shape, leaf.dtype), []).append(at_least_float32(leaf))
    sums = [jnp.sum(functools.reduce(jnp.add, group)) for group in groups.values()]
    return jnp.isfinite(functools.reduce(jnp.add, sums))


def _first_rows(leaves: list[Array]) -> Array:
    """Take whole rows, since XLA on a CPU computes all entries for a single one."""
    return _each_sum([first_row(leaf) for leaf in leaves])


def first_row(leaf: Array) -> Array:
    """Take the first row of an array, with its axis; a scalar stays, and so does an array that cannot be sliced."""
    return leaf if _is_whole(leaf) else leaf[:1]


def _first_entries(leaves: list[Array]) -> Array:
    parts = [
        leaf if _is_whole(leaf) else jax.lax.slice(leaf, (0,) * leaf.ndim, (1,) * leaf.ndim).reshape(())
        for leaf in leaves
        if leaf.size
    ]
    return _joint_sum(parts)


def _is_whole(leaf: Array) -> bool:
    """Whether to check all entries: of a scalar, and of an array that explicit sharding does not let us slice."""
    return leaf.ndim == 0 or any(axis is not None for axis in jax.typeof(leaf).sharding.spec)
