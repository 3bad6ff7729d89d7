"""The epochs of `fit`: their contract, and epochs over arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import NamedSharding

from deepuq_jax.noise import draw_key
from deepuq_jax.objectives.objective import VariationalObjective
from deepuq_jax.objectives.targets import check_targets
from deepuq_jax.training._interrupt import deferred_interrupt
from deepuq_jax.training._rows import take_rows
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
        position: the argument for `go_to` at the start of the next epoch, or None.
    """

    count: Any
    means: dict[str, Array]
    position: Any = None


@dataclass
class Begun:
    """The steps of an epoch that have run.

    Attributes:
        terms, sizes: the terms and the number of examples of each step.
        position: the position of the batches after the last step, from their `get_state`, or None.
        is_tracked: whether to ask the batches for their position.
        is_resumable: whether the epoch can go on from here in another process.
    """

    terms: list[ELBOTerms] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    position: Any = None
    is_tracked: bool = False
    is_resumable: bool = True


class Epochs(ABC):
    """Passes over the data, with an objective and an optimizer.

    Attributes:
        is_one_call: whether `run` is a single compiled call, which cannot be left before its end.
    """

    is_one_call: ClassVar[bool] = False

    @abstractmethod
    def run(self, state: TrainState, key: Array, first: int, last: int, keep: Keep, begun: Begun) -> EpochsRun:
        """Run at least one epoch, from number `first` on.

        The run stops before epoch `last` at the latest, and earlier after a step that is not finite. The buffers of
        `state` may be donated; `keep` gets the state after each compiled call, and Ctrl-C does not come in between.
        `begun` holds the steps of epoch `first` that have run already, and the run adds its own.
        """

    def go_to(self, position: Any) -> None:
        """Let the next epoch start at a position from `Begun`.

        Epochs over arrays need no position.
        """
        del position


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
    sharding: NamedSharding | None


class InALoop(_OverArrays):
    """Epochs over arrays, several per call of a compiled program."""

    is_one_call = True

    def run(self, state: TrainState, key: Array, first: int, last: int, keep: Keep, begun: Begun) -> EpochsRun:
        """Run `per_call` epochs, or fewer at the end."""
        if begun.terms:  # Steps of this epoch ran where each step is a call of its own.
            rest = OneStepPerCall(self.x, self.y, self.batch_size, 1, self.objective, self.optimizer, self.sharding)
            return rest.run(state, key, first, last, keep, begun)
        begun.is_resumable = False
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
                sharding=self.sharding,
            )
            keep(state)
        return EpochsRun(count, means)


class OneStepPerCall(_OverArrays):
    """Epochs over arrays, with a call per step of `train_epoch`."""

    def run(self, state: TrainState, key: Array, first: int, last: int, keep: Keep, begun: Begun) -> EpochsRun:
        """Run an epoch, or the rest of it."""
        sizes = _sizes(self.x, self.batch_size)
        batches, remainder, keys = _batches_of_epoch(draw_key(key, first), sum(sizes), self.batch_size)
        rows = [*batches, remainder] if remainder.size else [*batches]
        done = len(begun.terms)
        for row, step_key, size in zip(rows[done:], keys[done:], sizes[done:], strict=False):
            with deferred_interrupt():
                state, step_terms = _step_on_rows(
                    state,
                    self.x,
                    self.y,
                    row,
                    step_key,
                    self.objective,
                    optimizer=self.optimizer,
                    sharding=self.sharding,
                )
                keep(state)
                begun.terms.append(step_terms)
                begun.sizes.append(size)
        return EpochsRun(1, means_of_one_epoch(begun.terms, begun.sizes, self.objective.measures))


# The number of epochs so far, the state, and the means of the epochs by name.
_Carry = tuple[Any, TrainState, dict[str, Array]]


@partial(jax.jit, static_argnames=("optimizer", "batch_size", "per_call", "sharding"), donate_argnums=0)
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
    sharding: NamedSharding | None,
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
            state,
            x,
            y,
            key=epoch_key,
            objective=objective,
            optimizer=optimizer,
            batch_size=batch_size,
            sharding=sharding,
        )
        means = _mean_over_examples(history, sizes, objective.measures)
        return i + 1, state, {name: rows[name].at[i].set(means[name]) for name in rows}

    rows = {name: jnp.zeros(per_call) for name in objective.measures}
    count, state, rows = jax.lax.while_loop(is_next, one_epoch, (jnp.zeros((), jnp.int32), state, rows))
    return state, count, rows


_batches_of_epoch = jax.jit(batches_of_epoch, static_argnums=(1, 2))


@partial(jax.jit, static_argnames=("optimizer", "sharding"), donate_argnums=0)
def _step_on_rows(
    state: TrainState,
    x: Any,
    y: Any,
    rows: Array,
    key: Array,
    objective: VariationalObjective,
    *,
    optimizer: optax.GradientTransformation,
    sharding: NamedSharding | None,
) -> tuple[TrainState, ELBOTerms]:
    x, y = take_rows((x, y), rows, sharding)
    return train_step(state, x, y, key=key, objective=objective, optimizer=optimizer)


def _sizes(x: Any, batch_size: int) -> list[int]:
    """Return the number of examples of each step."""
    steps, remainder = divmod(jax.tree.leaves(x)[0].shape[0], batch_size)
    return [batch_size] * steps + [remainder] * bool(remainder)


def means_of_one_epoch(terms: list[ELBOTerms], sizes: list[int], names: tuple[str, ...]) -> dict[str, Array]:
    def stack(*values: Array) -> Array:
        return jnp.stack(values)

    means = _mean_over_examples(jax.tree.map(stack, *terms), sizes, names)
    return {name: mean[None] for name, mean in means.items()}


def _mean_over_examples(history: ELBOTerms, sizes: list[int], names: tuple[str, ...]) -> dict[str, Array]:
    weights = jnp.asarray(sizes, history.nll.dtype)
    return {name: jnp.average(getattr(history, name), weights=weights) for name in names}
