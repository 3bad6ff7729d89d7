"""Conversion of lists, data frames and torch tensors to arrays."""

from __future__ import annotations

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from deepuq_jax._checks import check_array, check_real, expected


def as_arrays(name: str, tree: Any) -> Any:
    """Convert lists, data frames and torch tensors to NumPy arrays.

    Args:
        name: name of the argument in an error message.
        tree: a pytree of arrays, in which a (nested) list of numbers stands for an array. Arrays stay as they are.
    Returns:
        The pytree with arrays as leaves.
    Raises:
        TypeError: a table has columns that are not numbers.

    >>> as_arrays("x", [[1.0, 2.0], [3.0, 4.0]]).shape
    (2, 2)
    """
    return jax.tree.map(lambda leaf: _as_array(name, leaf), tree, is_leaf=_stands_for_an_array)


def _as_array(name: str, leaf: Any) -> Any:
    if _is_torch(leaf):
        return leaf.detach().cpu().numpy()
    if not _stands_for_an_array(leaf):
        return check_array(name, leaf)
    values = leaf.to_numpy() if hasattr(leaf, "to_numpy") else _from_rows(name, leaf)
    if values.dtype == object or values.dtype.kind in "US":
        entry = next((entry for entry in values.flat if isinstance(entry, str)), values.flat[0])
        raise TypeError(expected(name, "to hold numbers", f"entries such as {entry!r}"))
    return check_array(name, values)


def _from_rows(name: str, rows: Any) -> Any:
    try:
        return np.asarray(rows)
    except (ValueError, OverflowError) as error:
        raise TypeError(expected(name, "to hold numbers in rows of one length", f"{error}".splitlines()[0])) from None


def real_array(name: str, value: Any) -> Array:
    """Convert numbers, arrays, lists or tables to a JAX array.

    Args:
        name: name of the argument in an error message.
        value: a number, an array, a (nested) list of numbers, a data frame or a torch tensor.
    Raises:
        TypeError: it holds anything but real numbers.

    >>> real_array("x", [1.0, 2.0])
    Array([1., 2.], dtype=float32)
    """
    if isinstance(value, (list, tuple)):
        if any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(value)):
            return jnp.asarray(value)
        value = _from_rows(name, value)
    return jnp.asarray(check_real(name, as_arrays(name, value)))


def _stands_for_an_array(node: Any) -> bool:
    return _is_torch(node) or hasattr(node, "to_numpy") or (isinstance(node, list) and _is_nested_number(node))


def _is_torch(node: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(node, torch.Tensor)


def _is_nested_number(node: Any) -> bool:
    """Whether the first entry, at whatever depth, is a number."""
    while isinstance(node, list) and node:
        node = node[0]
    return isinstance(node, (int, float, np.number, np.bool_, str))
