"""A pass over the data as a pure function."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import NamedSharding

from deepuq_jax._checks import check_batch, check_count, check_key, expected
from deepuq_jax.objectives.elbo import ELBO
from deepuq_jax.objectives.objective import Objective, as_objective
from deepuq_jax.training._rows import check_sharding, take_rows
from deepuq_jax.training.state import TrainState
from deepuq_jax.training.step import train_step
from deepuq_jax.types import ELBOTerms


def train_epoch(
    state: TrainState,
    x: Any,
    y: Any,
    *,
    key: Array,
    objective: Objective = ELBO(),
    optimizer: optax.GradientTransformation,
    batch_size: int,
    sharding: NamedSharding | None = None,
    compute_dtype: Any = None,
) -> tuple[TrainState, ELBOTerms]:
    """Train for a pass over the data in random order.

    A scan runs over the full batches, and a final step takes the remaining examples. No example is left out, padded or
    masked.

    Args:
        state: the state from `TrainState.create` or from the previous epoch.
        x, y: the whole data, arrays with a leading axis [num_data, ...].
        key: the key of this epoch, which orders the data and draws the noise.
        objective: as in `train_step`. If its `num_data` is None, the number of examples in `x` takes its place.
        optimizer: the optimizer that `state` was created with.
        batch_size: number of examples per step, at most the number of examples in `x`.
        sharding: how each batch lies over several devices, such as NamedSharding(mesh, PartitionSpec("data")); by
            default as the data do. The batch size has to be a multiple of the number of parts. If the remainder is not,
            each device computes the whole of it.
        compute_dtype: as in `train_step`.
    Returns:
        (the next state, ELBOTerms of arrays [steps], in the order of the steps).
    Raises:
        ValueError, TypeError: the batch size exceeds the number of examples; `sharding` does not divide it, or does not
            split the leading axis alone; or the objective raises the error.

    >>> import deepuq_jax as dq
    >>> from flax import nnx
    >>> adam = optax.adam(1e-2)
    >>> model = dq.BayesByBackpropMLP(2, (8,), 3, likelihood=dq.Categorical(), rngs=nnx.Rngs(0))
    >>> state = TrainState.create(model, adam)
    >>> x, y, key = jnp.ones((10, 2)), jnp.zeros(10, int), jax.random.key(0)
    >>> epoch = jax.jit(lambda state, key: train_epoch(state, x, y, key=key, optimizer=adam, batch_size=4))
    >>> state, history = epoch(state, key)
    >>> history.loss.shape  # batches of 4, 4 and 2
    (3,)
    """
    size = check_batch(x, y)
    check_key(key)
    if check_count("batch_size", batch_size) > size:
        raise ValueError(expected("batch_size", f"to be at most the {size} examples", f"{batch_size}"))
    check_sharding(sharding, batch_size)
    filled = as_objective(objective).for_data(size)
    batches, last_batch, keys = batches_of_epoch(key, size, batch_size)

    def step(state: TrainState, batch: tuple[Array, Array]) -> tuple[TrainState, ELBOTerms]:
        step_key, rows = batch
        x_rows, y_rows = take_rows((x, y), rows, sharding)
        return train_step(
            state, x_rows, y_rows, key=step_key, objective=filled, optimizer=optimizer, compute_dtype=compute_dtype
        )

    state, history = jax.lax.scan(step, state, (keys[: len(batches)], batches))
    if last_batch.size:
        state, last = step(state, (keys[-1], last_batch))
        history = jax.tree.map(lambda all, one: jnp.append(all, one), history, last)
    return state, history


def batches_of_epoch(key: Array, size: int, batch_size: int) -> tuple[Array, Array, Array]:
    """Choose the rows and the key of each step.

    Returns:
        (rows of the full batches [steps, batch_size], rows of the remainder, keys [steps + 1]). The last key belongs to
        the remainder.
    """
    order_key, step_key = jax.random.split(key)
    order = jax.random.permutation(order_key, size)
    steps = size // batch_size
    full, last = order[: steps * batch_size], order[steps * batch_size :]
    return full.reshape(steps, batch_size), last, jax.random.split(step_key, steps + 1)
