"""How arrays lie over several devices."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


def parts_of(sharding: Any) -> int:
    """Count the parts that a `NamedSharding` makes of the leading axis."""
    axes = sharding.spec[0] if len(sharding.spec) else None
    if axes is None:
        return 1
    names = (axes,) if isinstance(axes, str) else axes
    return math.prod(sharding.mesh.shape[name] for name in names)


def filled(like: Any, value: float = 0.0) -> Array:
    """Create an array of one number, of the type of another.

    The type includes the layout over devices: that of explicit sharding, and over which axes of `jax.shard_map` an
    array varies. The carry of a scan needs it.

    Args:
        like: what `jax.eval_shape` returns.
        value: the number.

    >>> filled(jax.ShapeDtypeStruct((2,), jnp.float32), 3.0)
    Array([3., 3.], dtype=float32)
    """
    spec = () if like.sharding is None else like.sharding.spec
    zeros = jnp.zeros(like.shape, like.dtype, out_sharding=like.sharding if any(spec) else None)
    varying = () if like.manual_axis_type is None else tuple(like.manual_axis_type.varying)
    return jax.lax.pcast(zeros + jnp.asarray(value, like.dtype), varying, to="varying")
