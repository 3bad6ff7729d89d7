"""One pass over the data as a pure function."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from deepuq_jax._checks import check_batch, check_count, check_key, expected
from deepuq_jax.objectives.elbo import ELBO
from deepuq_jax.objectives.objective import Objective, as_objective
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
) -> tuple[TrainState, ELBOTerms]:
    """One pass over the data in a new order: a scan over the full batches, then one step on the remainder.

    Args:
        state: of `TrainState.create` or of the epoch before.
        x, y: the whole data, arrays with a leading axis [num_data, ...].
        key: of this epoch: orders the data and draws the noise.
        objective: as in `train_step`; where its `num_data` is None it becomes the number of examples in `x`.
        optimizer: the one that `state` was made with.
        batch_size: at most the number of examples. No example is left out, none is padded or masked.
    Returns:
        (the next state, ELBOTerms of arrays [steps], in the order of the steps).
    Raises:
        ValueError: a batch size above the number of examples, and as the objective.

    >>> import deepuq_jax as dq
    >>> from flax import nnx
    >>> adam = optax.adam(1e-2)
    >>> state = TrainState.create(dq.BayesByBackpropMLP(2, (8,), 3, rngs=nnx.Rngs(0)), adam)
    >>> x, y, key = jnp.ones((10, 2)), jnp.zeros(10, int), jax.random.key(0)
    >>> state, history = train_epoch(state, x, y, key=key, optimizer=adam, batch_size=4)
    >>> history.loss.shape  # batches of 4, 4 and 2
    (3,)
    """
    size = check_batch(x, y)
    check_key(key)
    if check_count("batch_size", batch_size) > size:
        raise ValueError(expected("batch_size", f"to be at most the {size} examples", f"{batch_size}"))
    filled = as_objective(objective).for_data(size)
    batches, last_batch, keys = batches_of_epoch(key, size, batch_size)

    def step(state: TrainState, batch: tuple[Array, Array]) -> tuple[TrainState, ELBOTerms]:
        step_key, rows = batch
        x_rows, y_rows = jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis=0), (x, y))
        return train_step(state, x_rows, y_rows, key=step_key, objective=filled, optimizer=optimizer)

    state, history = jax.lax.scan(step, state, (keys[: len(batches)], batches))
    if last_batch.size:
        state, last = step(state, (keys[-1], last_batch))
        history = jax.tree.map(lambda all, one: jnp.append(all, one), history, last)
    return state, history


def batches_of_epoch(key: Array, size: int, batch_size: int) -> tuple[Array, Array, Array]:
    """The rows of each step of `train_epoch`, and their keys.

    Returns:
        (full batches [steps, batch_size], the remainder, keys [steps + 1], the last of them for the remainder).
    """
    order_key, step_key = jax.random.split(key)
    order = jax.random.permutation(order_key, size)
    steps = size // batch_size
    full, last = order[: steps * batch_size], order[steps * batch_size :]
    return full.reshape(steps, batch_size), last, jax.random.split(step_key, steps + 1)
