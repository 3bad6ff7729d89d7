"""The epochs of `fit`, over arrays or over batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from deepuq_jax._checks import check_batch
from deepuq_jax._inputs import as_arrays
from deepuq_jax.noise import draw_key
from deepuq_jax.objectives.objective import VariationalObjective
from deepuq_jax.objectives.targets import check_targets
from deepuq_jax.training._interrupt import deferred_interrupt
from deepuq_jax.training.epoch import batches_of_epoch, train_epoch
from deepuq_jax.training.state import TrainState
from deepuq_jax.training.step import train_step
from deepuq_jax.types import ELBOTerms

Keep = Callable[[TrainState], None]


class EpochsRun(NamedTuple):
    """Result of `Epochs.run`.

    Attributes:
        count: number of epochs that ran.
        means: arrays by name, averaged over the examples of each epoch; entries from index `count` on are meaningless.
    """

    count: Any
    means: dict[str, Array]


class Epochs(ABC):
    """Passes over the data, with an objective and an optimizer."""

    @abstractmethod
    def run(self, state: TrainState, key: Array, first: int, last: int, keep: Keep) -> EpochsRun:
        """Run at least one epoch, from number `first` on.

        The run stops before epoch `last` at the latest, and earlier after a step that is not finite. The buffers of
        `state` may be donated; `keep` gets the state after each compiled call, and Ctrl-C does not come in between.
        """


def check_against(model: Any, x: Any, y: Any, objective: VariationalObjective) -> None:
    """Check targets against outputs if the objective has a score."""
    score = objective.score_for(model)
    if score is not None:
        check_targets(model, x, y, score)


@dataclass(frozen=True)
class _OverArrays(Epochs):
    x: Any
    y: Any
    batch_size: int
    per_call: int
    objective: VariationalObjective
    optimizer: optax.GradientTransformation


class InALoop(_OverArrays):
    """Epochs over arrays, several per call of a compiled program."""

    def run(self, state: TrainState, key: Array, first: int, last: int, keep: Keep) -> EpochsRun:
        """Run `per_call` epochs, or fewer at the end."""
        with deferred_interrupt():
            state, count, means = _run_in_a_loop(
                state,
                self.x,
                self.y,
                key,
                first,
                last,
                self.objective,
                optimizer=self.optimizer,
                batch_size=self.batch_size,
                per_call=self.per_call,
            )
            keep(state)
        return EpochsRun(count, means)


class OneStepPerCall(_OverArrays):
    """Epochs over arrays, with a call per step of `train_epoch`."""

    def run(self, state: TrainState, key: Array, first: int, last: int, keep: Keep) -> EpochsRun:
        """Run an epoch."""
        sizes = _sizes(self.x, self.batch_size)
        batches, remainder, keys = _batches_of_epoch(draw_key(key, first), sum(sizes), self.batch_size)
        rows = [*batches, remainder] if remainder.size else [*batches]
        terms = []
        for row, step_key in zip(rows, keys, strict=False):
            with deferred_interrupt():
                state, step_terms = _step_on_rows(
                    state, self.x, self.y, row, step_key, self.objective, optimizer=self.optimizer
                )
                keep(state)
            terms.append(step_terms)
        return EpochsRun(1, _means_of_one_epoch(terms, sizes, self.objective.measures))


@dataclass(frozen=True)
class OverBatches(Epochs):
    """Epochs over an iterable of batches."""

    batches: Iterable[Any]
    objective: VariationalObjective
    optimizer: optax.GradientTransformation

    def run(self, state: TrainState, key: Array, first: int, last: int, keep: Keep) -> EpochsRun:
        """Run an epoch."""
        key, terms, sizes = draw_key(key, first), [], []
        for i, batch in enumerate(self.batches):
            x, y = _pair(batch)
            sizes.append(check_batch(x, y))
            check_against(state.model, x, y, self.objective)
            with deferred_interrupt():
                state, step_terms = _step(state, x, y, draw_key(key, i), self.objective, optimizer=self.optimizer)
                keep(state)
            terms.append(step_terms)
        if not terms:
            raise ValueError("Expected an iterable that starts anew each epoch; got one without a batch.")
        return EpochsRun(1, _means_of_one_epoch(terms, sizes, self.objective.measures))


def _pair(batch: Any) -> tuple[Any, Any]:
    """Return the inputs and targets of a batch as NumPy arrays."""
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        found = f"{type(batch).__name__} of {len(batch)}" if isinstance(batch, Sized) else type(batch).__name__
        raise TypeError(f"Expected each batch to be a pair (x, y); got a {found}. Map the batches to pairs first.")
    return jax.tree.map(np.asarray, (as_arrays("x", batch[0]), as_arrays("y", batch[1])))


# The number of epochs so far, the state, and the means of the epochs by name.
_Carry = tuple[Any, TrainState, dict[str, Array]]


@partial(jax.jit, static_argnames=("optimizer", "batch_size", "per_call"), donate_argnums=0)
def _run_in_a_loop(
    state: TrainState,
    x: Any,
    y: Any,
    key: Array,
    first: Any,
    last: Any,
    objective: VariationalObjective,
    *,
    optimizer: optax.GradientTransformation,
    batch_size: int,
    per_call: int,
) -> tuple[TrainState, Array, dict[str, Array]]:
    """Run epochs, and return (state, number of epochs, means [per_call])."""
    sizes = _sizes(x, batch_size)

    def is_next(carry: _Carry) -> Array:
        i, state, _ = carry
        return (i < per_call) & (first + i < last) & (state.bad_step < 0)

    def one_epoch(carry: _Carry) -> _Carry:
        i, state, rows = carry
        epoch_key = draw_key(key, first + i)
        state, history = train_epoch(
            state, x, y, key=epoch_key, objective=objective, optimizer=optimizer, batch_size=batch_size
        )
        means = _mean_over_examples(history, sizes, objective.measures)
        return i + 1, state, {name: rows[name].at[i].set(means[name]) for name in rows}

    rows = {name: jnp.zeros(per_call) for name in objective.measures}
    count, state, rows = jax.lax.while_loop(is_next, one_epoch, (jnp.zeros((), jnp.int32), state, rows))
    return state, count, rows


_batches_of_epoch = jax.jit(batches_of_epoch, static_argnums=(1, 2))


@partial(jax.jit, static_argnames="optimizer", donate_argnums=0)
def _step(
    state: TrainState,
    x: Any,
    y: Any,
    key: Array,
    objective: VariationalObjective,
    *,
    optimizer: optax.GradientTransformation,
) -> tuple[TrainState, ELBOTerms]:
    return train_step(state, x, y, key=key, objective=objective, optimizer=optimizer)


@partial(jax.jit, static_argnames="optimizer", donate_argnums=0)
def _step_on_rows(
    state: TrainState,
    x: Any,
    y: Any,
    rows: Array,
    key: Array,
    objective: VariationalObjective,
    *,
    optimizer: optax.GradientTransformation,
) -> tuple[TrainState, ELBOTerms]:
    x, y = jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis=0), (x, y))
    return train_step(state, x, y, key=key, objective=objective, optimizer=optimizer)


def _sizes(x: Any, batch_size: int) -> list[int]:
    """Return the number of examples of each step."""
    steps, remainder = divmod(jax.tree.leaves(x)[0].shape[0], batch_size)
    return [batch_size] * steps + [remainder] * bool(remainder)


def _means_of_one_epoch(terms: list[ELBOTerms], sizes: list[int], names: tuple[str, ...]) -> dict[str, Array]:
    def stack(*values: Array) -> Array:
        return jnp.stack(values)

    means = _mean_over_examples(jax.tree.map(stack, *terms), sizes, names)
    return {name: mean[None] for name, mean in means.items()}


def _mean_over_examples(history: ELBOTerms, sizes: list[int], names: tuple[str, ...]) -> dict[str, Array]:
    weights = jnp.asarray(sizes, history.nll.dtype)
    return {name: jnp.average(getattr(history, name), weights=weights) for name in names}
