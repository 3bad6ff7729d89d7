"""Batches of rows that lie over several devices as the data do."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec

from deepuq_jax._checks import expected
from deepuq_jax._layout import parts_of


def check_sharding(sharding: Any, batch_size: int | None = None) -> None:
    """Require a sharding of the leading axis of a batch.

    Args:
        sharding: the argument `sharding` of `fit` and `train_epoch`; None passes.
        batch_size: number of examples of a batch, a multiple of the parts of the sharding; None if it is not known.
    Raises:
        TypeError: `sharding` is not a `NamedSharding`. ValueError: it splits another axis, or the batch size is not a
            multiple of the number of its parts.
    """
    if sharding is None:
        return
    if not isinstance(sharding, NamedSharding):
        what = 'to be a jax.sharding.NamedSharding, as in NamedSharding(mesh, PartitionSpec("data"))'
        raise TypeError(expected("sharding", what, sharding))
    if len(sharding.spec) != 1 or sharding.spec[0] is None:
        what = 'to split the leading axis alone, as PartitionSpec("data") does'
        raise ValueError(expected("sharding", what, f"{sharding.spec}"))
    if batch_size is not None and batch_size % parts_of(sharding):
        what = f"to be a multiple of the {parts_of(sharding)} parts that sharding makes of a batch"
        raise ValueError(expected("batch_size", what, f"{batch_size}"))


def over_devices(batch: Any, sharding: NamedSharding | None) -> Any:
    """Spread a batch over the devices of a sharding.

    A batch that the sharding does not divide is copied to each device. Without a sharding, the batch stays as it is.
    """
    if sharding is None:
        return batch
    size = jax.tree.leaves(batch)[0].shape[0]
    divides = size % parts_of(sharding) == 0
    return jax.device_put(batch, sharding if divides else _copies(sharding.mesh))


def mesh_of(data: Any) -> Any:
    """Return the mesh that arrays lie on, or None if they lie on no mesh."""
    for leaf in jax.tree.leaves(data):
        if isinstance(leaf, jax.Array) and isinstance(leaf.sharding, NamedSharding):
            return leaf.sharding.mesh
    return None


def on_mesh(tree: Any, mesh: Any) -> Any:
    """Copy arrays to each device of a mesh.

    Arrays that lie on these devices already stay as they are, whether they are copies or parts. Without a mesh, all
    arrays stay as they are.
    """
    if mesh is None:
        return tree
    devices = set(mesh.devices.flat)

    def placed(leaf: Any) -> Any:
        is_there = isinstance(leaf, jax.Array) and isinstance(leaf.sharding, NamedSharding)
        return leaf if is_there and leaf.sharding.device_set == devices else jax.device_put(leaf, _copies(mesh))

    return jax.tree.map(placed, tree)


def _copies(mesh: Any) -> NamedSharding:
    """Return the sharding that copies an array to each device of a mesh."""
    return NamedSharding(mesh, PartitionSpec())


def take_rows(data: Any, rows: Array, sharding: NamedSharding | None = None) -> Any:
    """Take the rows of a batch, and let each device hold a part of it.

    Without this, every device would compute the whole batch, because the result of a gather has no layout of its own.
    If the data are split over devices, one collective per array brings the rows of the batch to their devices.

    Args:
        data: arrays with a leading axis of examples.
        rows: the numbers of the rows, [batch].
        sharding: how the batch lies over devices; by default as the data do. Each device computes the whole of a batch
            that the sharding does not divide.
    """
    if sharding is not None and rows.size % parts_of(sharding):
        sharding = _copies(sharding.mesh)
    return jax.tree.map(lambda leaf: _take(jnp.asarray(leaf), rows, sharding), data)


def _take(leaf: Array, rows: Array, sharding: NamedSharding | None) -> Array:
    own = jax.typeof(leaf).sharding
    if any(own.spec) or (sharding is not None and sharding.mesh.are_all_axes_explicit):
        # With explicit sharding, the type of an array states its layout, and the gather has to state the layout of the
        # batch.
        return leaf.at[rows].get(out_sharding=_explicit(own, rows.size) if sharding is None else sharding)
    taken = jnp.take(leaf, rows, axis=0)
    if sharding is not None:
        return jax.lax.with_sharding_constraint(taken, sharding)
    return _laid_out_as(taken, leaf, rows) if jax.device_count() > 1 else taken


def _explicit(own: Any, size: int) -> Any:
    """Return the sharding of a batch of an explicitly sharded array."""
    first, *others = own.spec
    if first is not None and size % parts_of(own):
        first = None
    return NamedSharding(own.mesh, PartitionSpec(first, *others))


def _laid_out_as(batch: Array, data: Array, rows: Array) -> Array:
    """Return the batch, laid out over devices as the data, whose layout is known to the compiler alone.

    If an array is selected from two, the compiler lays out all three alike. The second array here is a slice of the
    data that takes an equal share of each device's rows. It is never selected, since no row has a negative number.
    """
    size = rows.size
    groups = math.gcd(data.shape[0], size)
    others = data.shape[1:]
    slice_of_each = data.reshape(groups, -1, *others)[:, : size // groups].reshape(size, *others)
    return jnp.where(rows[0] < 0, slice_of_each, batch)
