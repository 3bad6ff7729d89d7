"""The epochs of `fit`, over arrays or over batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sized
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from deepuq_jax._checks import check_batch, check_count, expected
from deepuq_jax.model.own import as_model
from deepuq_jax.noise import draw_key
from deepuq_jax.objectives.objective import VariationalObjective
from deepuq_jax.objectives.targets import check_targets
from deepuq_jax.training import _defaults as default
from deepuq_jax.training.epoch import batches_of_epoch, train_epoch
from deepuq_jax.training.state import TrainState
from deepuq_jax.training.step import train_step
from deepuq_jax.types import ELBOTerms

_MEANS = ("loss", "nll", "kl")
# Epochs shorter than this are batched, because dispatching a call costs about 30 steps of a small network.
_STEPS_PER_CALL = 250


class EpochsRun(NamedTuple):
    """Result of `Epochs.run`.

    Attributes:
        state: the state after the last step.
        count: number of epochs that ran.
        means: arrays by name, averaged over the examples of each epoch; entries from index `count` on are meaningless.
    """

    state: TrainState
    count: Any
    means: dict[str, Array]


class Epochs(ABC):
    """Passes over the data, with an objective and an optimizer."""

    @abstractmethod
    def run(self, state: TrainState, key: Array, first: int, last: int) -> EpochsRun:
        """Run at least one epoch, from number `first` on.

        The run stops before epoch `last` at the latest, and earlier after a step that is not finite. The buffers of
        `state` may be donated.
        """


class Data(ABC):
    """Checked training data.

    Attributes:
        steps: number of steps per epoch, or None if it is not known beforehand.
    """

    steps: int | None

    @abstractmethod
    def epochs(
        self, model: Any, objective: VariationalObjective, optimizer: optax.GradientTransformation, *, one_by_one: bool
    ) -> Epochs:
        """Create passes; `one_by_one` means an epoch per `run`."""


class Arrays(Data):
    """Arrays with a leading axis of examples.

    Args:
        x, y: the data.
        batch_size: number of examples per step. The default is 128, or all data if they are fewer.
    Raises:
        ValueError, TypeError: `check_batch` refuses the data, or the batch size is invalid.
    """

    def __init__(self, x: Any, y: Any, batch_size: int | None):
        self.size = check_batch(x, y)
        self.x, self.y = x, y
        self.batch_size = min(default.BATCH_SIZE, self.size) if batch_size is None else batch_size
        if check_count("batch_size", self.batch_size) > self.size:
            raise ValueError(expected("batch_size", f"to be at most the {self.size} examples", f"{batch_size}"))
        self.steps: int = -(-self.size // self.batch_size)

    def epochs(
        self, model: Any, objective: VariationalObjective, optimizer: optax.GradientTransformation, *, one_by_one: bool
    ) -> Epochs:
        """Check the targets and create passes over the arrays."""
        check_against(model, self.x, self.y, objective)
        kind = OneStepPerCall if is_slow_in_a_loop(model, self.x) else InALoop
        x, y = jax.tree.map(jnp.asarray, (self.x, self.y))
        per_call = 1 if one_by_one else max(1, _STEPS_PER_CALL // self.steps)
        return kind(x, y, self.batch_size, per_call, objective.for_data(self.size), optimizer)


class Batches(Data):
    """An iterable of batches (x, y).

    It starts anew each epoch, and each batch is checked as it comes.

    Raises:
        ValueError: `batches` is not an iterable, or a batch size is passed with it.
    """

    def __init__(self, batches: Any, batch_size: int | None):
        if isinstance(batches, (jax.Array, np.ndarray)) or not isinstance(batches, Iterable):
            raise ValueError(expected("y", "with an array x (or x an iterable of batches)", "None"))
        if batch_size is not None:
            raise ValueError(expected("batch_size", "to be set by the batches themselves", f"{batch_size}"))
        self.batches = batches
        self.steps = len(batches) if isinstance(batches, Sized) else None

    def epochs(
        self, model: Any, objective: VariationalObjective, optimizer: optax.GradientTransformation, *, one_by_one: bool
    ) -> Epochs:
        """Create passes over the iterable, an epoch per `run`."""
        return OverBatches(self.batches, objective, optimizer)


def check_against(model: Any, x: Any, y: Any, objective: VariationalObjective) -> None:
    """Check targets against outputs if the objective has a score."""
    score = objective.score_for(model)
    if score is not None:
        check_targets(model, x, y, score)


def is_slow_in_a_loop(model: Any, x: Any) -> bool:
    """Whether a call per step beats a loop of steps.

    A loop saves the dispatch of a call, a fraction of a millisecond per step. But XLA:CPU has no fast gradient of a
    convolution in a loop (github.com/jax-ml/jax/issues/12868): 16-32-10 at batch 128 takes six times as long there.
    """
    if jax.default_backend() != "cpu" or all(np.ndim(leaf) < 3 for leaf in jax.tree.leaves(model)):
        return False  # Without a kernel of a convolution's rank, this avoids a trace, which takes 70 ms or more.
    one = jax.tree.map(lambda leaf: leaf[:1], x)

    def outputs(model: Any, x: Any, key: Array) -> Any:
        return as_model(model).call_with_state(x, key=key)[0]

    return "conv_general_dilated" in str(jax.make_jaxpr(outputs)(model, one, jax.random.key(0)))


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

    def run(self, state: TrainState, key: Array, first: int, last: int) -> EpochsRun:
        """Run `per_call` epochs, or fewer at the end."""
        return EpochsRun(
            *_run_in_a_loop(
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
        )


class OneStepPerCall(_OverArrays):
    """Epochs over arrays, with a call per step of `train_epoch`."""

    def run(self, state: TrainState, key: Array, first: int, last: int) -> EpochsRun:
        """Run an epoch."""
        sizes = _sizes(self.x, self.batch_size)
        batches, remainder, keys = _batches_of_epoch(draw_key(key, first), sum(sizes), self.batch_size)
        rows = [*batches, remainder] if remainder.size else [*batches]
        terms = []
        for row, step_key in zip(rows, keys, strict=False):
            state, step_terms = _step_on_rows(
                state, self.x, self.y, row, step_key, self.objective, optimizer=self.optimizer
            )
            terms.append(step_terms)
        return EpochsRun(state, 1, _means_of_one_epoch(terms, sizes))


@dataclass(frozen=True)
class OverBatches(Epochs):
    """Epochs over an iterable of batches."""

    batches: Iterable[Any]
    objective: VariationalObjective
    optimizer: optax.GradientTransformation

    def run(self, state: TrainState, key: Array, first: int, last: int) -> EpochsRun:
        """Run an epoch."""
        key, terms, sizes = draw_key(key, first), [], []
        for i, (x, y) in enumerate(self.batches):
            x, y = jax.tree.map(np.asarray, (x, y))
            sizes.append(check_batch(x, y))
            check_against(state.model, x, y, self.objective)
            state, step_terms = _step(state, x, y, draw_key(key, i), self.objective, optimizer=self.optimizer)
            terms.append(step_terms)
        if not terms:
            raise ValueError("Expected an iterable that starts anew each epoch; got one without a batch.")
        return EpochsRun(state, 1, _means_of_one_epoch(terms, sizes))


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
        means = _mean_over_examples(history, sizes)
        return i + 1, state, {name: rows[name].at[i].set(means[name]) for name in rows}

    rows = {name: jnp.zeros(per_call) for name in _MEANS}
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


def _means_of_one_epoch(terms: list[ELBOTerms], sizes: list[int]) -> dict[str, Array]:
    def stack(*values: Array) -> Array:
        return jnp.stack(values)

    means = _mean_over_examples(jax.tree.map(stack, *terms), sizes)
    return {name: mean[None] for name, mean in means.items()}


def _mean_over_examples(history: ELBOTerms, sizes: list[int]) -> dict[str, Array]:
    weights = jnp.asarray(sizes, history.nll.dtype)
    return {name: jnp.average(getattr(history, name), weights=weights) for name in _MEANS}
