"""The epochs of `fit` over an iterable of batches."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from jax import Array
from jax.sharding import NamedSharding

from deepuq_jax._checks import check_batch, expected
from deepuq_jax._inputs import as_arrays
from deepuq_jax._layout import own_rows
from deepuq_jax.noise import draw_key
from deepuq_jax.objectives.objective import VariationalObjective
from deepuq_jax.training._epochs import Begun, Epochs, EpochsRun, Keep, check_against, means_of_one_epoch
from deepuq_jax.training._interrupt import deferred_interrupt
from deepuq_jax.training._rows import over_devices
from deepuq_jax.training.state import TrainState
from deepuq_jax.training.step import train_step
from deepuq_jax.types import ELBOTerms


class OverBatches(Epochs):
    """Epochs over an iterable of batches."""

    def __init__(
        self,
        batches: Iterable[Any],
        objective: VariationalObjective,
        optimizer: optax.GradientTransformation,
        sharding: NamedSharding | None,
    ):
        self.batches: Any = batches
        self.objective, self.optimizer, self.sharding = objective, optimizer, sharding
        self._position: Any = None

    def run(self, state: TrainState, key: Array, first: int, last: int, keep: Keep, begun: Begun) -> EpochsRun:
        """Run an epoch, or the rest of it."""
        key, source = draw_key(key, first), self._start()
        tells: Any = self.batches if tells_position(self.batches) else source
        begun.is_resumable = tells_position(tells)
        for batch in source:
            # A loader that fetches ahead has moved on by the end of the step, so its position is read before the step.
            position = tells.get_state() if begun.is_tracked and begun.is_resumable else None
            x, y = _pair(batch)
            size = check_batch(x, y, finite=False)
            own = own_rows("x", x), own_rows("y", y)
            check_batch(*own)
            check_against(state.model, *own, self.objective)
            x, y = over_devices((x, y), self.sharding)
            with deferred_interrupt():
                step_key = draw_key(key, len(begun.terms))
                state, step_terms = _step(state, x, y, step_key, self.objective, optimizer=self.optimizer)
                keep(state)
                begun.terms.append(step_terms)
                begun.sizes.append(size)
                begun.position = position
        if not begun.terms:
            raise ValueError("Expected an iterable that starts anew each epoch; got an iterable without batches.")
        means = means_of_one_epoch(begun.terms, begun.sizes, self.objective.measures)
        # An iterator starts anew each epoch. An iterable with a position of its own may continue from it.
        return EpochsRun(1, means, tells.get_state() if begun.is_tracked and tells is self.batches else None)

    def go_to(self, position: Any) -> None:
        """Let the next epoch start at a position that the batches reported."""
        self._position = position

    def _start(self) -> Any:
        """Start an epoch, at the position of `go_to` the first time."""
        position, self._position = self._position, None
        if position is not None and tells_position(self.batches):
            self.batches.set_state(position)
            return iter(self.batches)
        source: Any = iter(self.batches)
        if position is not None:
            if not tells_position(source):
                what = "to have get_state and set_state, as the batches of the checkpoint had"
                raise ValueError(expected("the batches", what, type(source).__name__))
            source.set_state(position)
        return source


def tells_position(batches: Any) -> bool:
    """Whether batches can report and restore their position, as iterators of grain can."""
    return hasattr(batches, "get_state") and hasattr(batches, "set_state")


def _pair(batch: Any) -> tuple[Any, Any]:
    """Return the inputs and targets of a batch as arrays of JAX or NumPy."""
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        found = f"{type(batch).__name__} of {len(batch)}" if isinstance(batch, Sized) else type(batch).__name__
        raise TypeError(f"Expected each batch to be a pair (x, y); got a {found}. Map the batches to pairs first.")
    pair = as_arrays("x", batch[0]), as_arrays("y", batch[1])
    return jax.tree.map(lambda leaf: leaf if isinstance(leaf, jax.Array) else np.asarray(leaf), pair)


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
