"""How arrays lie over several devices."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from deepuq_jax._checks import expected, is_concrete


def parts_of(sharding: Any) -> int:
    """Count the parts that a `NamedSharding` makes of the leading axis."""
    axes = sharding.spec[0] if len(sharding.spec) else None
    if axes is None:
        return 1
    names = (axes,) if isinstance(axes, str) else axes
    return math.prod(sharding.mesh.shape[name] for name in names)


def own_rows(name: str, tree: Any) -> Any:
    """Return the rows that this process holds, as NumPy arrays.

    It applies to arrays that are spread over several processes. Other leaves, and arrays whose values this process can
    read, stay as they are.

    Args:
        name: name of the arrays in an error message.
        tree: a pytree.
    Raises:
        ValueError: an array over several processes is split along an axis other than the first.
    """

    def of_leaf(leaf: Any) -> Any:
        return _own_rows(name, leaf) if isinstance(leaf, jax.Array) and not is_concrete(leaf) else leaf

    return jax.tree.map(of_leaf, tree)


def _own_rows(name: str, array: Array) -> Any:
    if isinstance(array, Tracer):
        return array
    parts = {shard.index[0].start or 0: shard.data for shard in array.addressable_shards}
    if any(part.shape[1:] != array.shape[1:] for part in parts.values()):
        what = "to be split over processes by its leading axis alone"
        raise ValueError(expected(name, what, f"{array.sharding}"))
    return np.concatenate([np.asarray(parts[start]) for start in sorted(parts)])


def filled(like: Any, value: float = 0.0) -> Array:
    """Create an array of one number, with the type of another array.

    The type includes the layout over devices: that of explicit sharding, and over which axes of `jax.shard_map` an
    array varies. The carry of a scan needs it.

    Args:
        like: a result of `jax.eval_shape`.
        value: the number.

    >>> filled(jax.ShapeDtypeStruct((2,), jnp.float32), 3.0)
    Array([3., 3.], dtype=float32)
    """
    spec = () if like.sharding is None else like.sharding.spec
    zeros = jnp.zeros(like.shape, like.dtype, out_sharding=like.sharding if any(spec) else None)
    varying = () if like.manual_axis_type is None else tuple(like.manual_axis_type.varying)
    return jax.lax.pcast(zeros + jnp.asarray(value, like.dtype), varying, to="varying")
