"""The loop of `fit` over epochs.

It trains and scores the model, and keeps the best model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from deepuq_jax._checks import expected
from deepuq_jax.model.variables import copied
from deepuq_jax.training._checkpoint import Saver
from deepuq_jax.training._epochs import Begun, Epochs
from deepuq_jax.training._interrupt import deferred_interrupt
from deepuq_jax.training._packed import Progress, joined
from deepuq_jax.training._progress import progress_bar
from deepuq_jax.training.result import FitResult, NonFiniteError
from deepuq_jax.training.state import TrainState

Score = Callable[..., Array]
_OTHERS = (
    "This run has {} processes, which all end if one of them ends. The output of that process says why. With "
    "checkpoint, the same call in all processes goes on from the last checkpoint."
)


class _Best(NamedTuple):
    """The best model so far.

    Attributes:
        params, carried: the parts of the model, as in a `TrainState`.
        val_nll: the score of this model.
        stale: number of epochs since it was found.
    """

    params: Any
    carried: Any
    val_nll: Array
    stale: Array


class Run:
    """A training run whose result is available at any time.

    Args:
        state: the state before the first step; its buffers are donated.
        passes: runs epochs over the data.
        score: the validation score of a model, or None.
        epochs, patience, progress: as in `fit`.
    """

    def __init__(
        self,
        state: TrainState,
        passes: Epochs,
        score: Score | None,
        *,
        epochs: int,
        patience: int | None,
        progress: bool,
    ):
        self._state, self._passes, self._score = state, passes, score
        self._epochs, self._patience, self._shows_progress = epochs, patience, progress
        self._rows: list[dict[str, np.ndarray]] = []
        self._done = 0
        self._begun = Begun()
        self._best: _Best | None = None
        if patience is not None:
            start = copied(state.params), copied(state.carried)
            self._best = _Best(*start, jnp.asarray(jnp.inf), jnp.zeros((), jnp.int32))

    @property
    def progress(self) -> Progress:
        """The progress of the run so far."""
        return Progress(self._state, self._best, self._rows, self._done, self._begun)

    def run(self, key: Array, saver: Saver) -> FitResult:
        """Train to the end, from the last checkpoint on.

        Raises:
            NonFiniteError: a step is not finite.
            BaseException: any error, including Ctrl-C, gets an attribute `result`.
        """
        train_key, score_key = jax.random.split(key)
        self._go_on(saver)
        try:
            self._run(train_key, score_key, saver)
        except NonFiniteError:
            raise
        except BaseException as error:
            saver.save_before(error, self.progress)
            error.result = self.result()  # type: ignore[attr-defined]
            error.add_note("The model so far and its history are in the attribute `result` of this exception.")
            if jax.process_count() > 1 and isinstance(error, jax.errors.JaxRuntimeError):
                error.add_note(_OTHERS.format(jax.process_count()))
            raise
        return self.result()

    def result(self) -> FitResult:
        """Return the result so far.

        Its history holds the complete epochs.
        """
        best, state = self._best, self._state
        is_scored = best is not None and bool(self._rows)
        chosen = replace(state, params=best.params, carried=best.carried) if best and is_scored else state
        return FitResult(chosen.model, joined(self._rows), state)

    def _go_on(self, saver: Saver) -> None:
        """Start from the last checkpoint, if there is one."""
        self._begun = saver.begin()
        found = saver.restore(self.progress)
        if found is None:
            return
        self._state, self._best, self._rows, self._done, self._begun = found
        if self._done > self._epochs:
            what = f"to be at least the {self._done} epochs of the checkpoint"
            raise ValueError(expected("epochs", what, f"{self._epochs}"))
        self._passes.go_to(self._begun.position)

    def _run(self, train_key: Array, score_key: Array, saver: Saver) -> None:
        with progress_bar(self._epochs, self._shows_progress and jax.process_index() == 0) as bar:
            bar.update(self._done)
            is_over = self._is_over()
            while not is_over:
                before = self._done
                # Ctrl-C cannot interrupt a compiled call anyway, so it also waits for the bookkeeping: no epoch is
                # lost.
                with deferred_interrupt() if self._passes.is_one_call else contextlib.nullcontext():
                    self._run_epochs(train_key, score_key, saver)
                    is_over = self._is_over()
                    saver.save_after(self.progress, is_over)
                bar.update(self._done - before)
                if self._shows_progress:
                    bar.set_postfix({name: f"{values[-1]:.4g}" for name, values in self._rows[-1].items()})

    def _run_epochs(self, train_key: Array, score_key: Array, saver: Saver) -> None:
        last = min(self._epochs, saver.next_save(self._done))
        ran = self._passes.run(self._state, train_key, self._done, last, self._keep_state, self._begun)
        means = ran.means
        if self._score is not None:
            # The key is the same after each epoch, so that the scores differ by the model alone.
            means["val_nll"] = self._score(self._state.model, key=score_key)[None]
        count = int(ran.count)
        row = {name: np.asarray(values)[:count] for name, values in means.items()}
        is_good = int(self._state.bad_step) < 0
        # The state, the history and the number of epochs change together, so that a checkpoint never mixes epochs.
        with deferred_interrupt():
            self._rows.append(row)
            if is_good:
                self._done += count
                self._begun = saver.begin(ran.position)
                self._keep_best(means)
        if not is_good:
            raise NonFiniteError(int(self._state.bad_step), self._last_good())

    def _keep_state(self, state: TrainState) -> None:
        self._state = state

    def _last_good(self) -> FitResult:
        return self.result()._replace(model=self._state.model)

    def _keep_best(self, means: dict[str, Array]) -> None:
        if self._best is not None:
            self._best = _keep_best(self._best, self._state.params, self._state.carried, means["val_nll"][0])

    def _is_over(self) -> bool:
        """Whether all epochs are done, or patience has run out."""
        if self._done >= self._epochs:
            return True
        return self._best is not None and self._patience is not None and int(self._best.stale) >= self._patience


@partial(jax.jit, donate_argnums=0)
def _keep_best(best: _Best, params: Any, carried: Any, val_nll: Array) -> _Best:
    is_better = val_nll < best.val_nll

    def keep(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda new, old: jnp.where(is_better, new, old), new, old)

    stale = jnp.where(is_better, 0, best.stale + 1)
    return _Best(
        keep(params, best.params), keep(carried, best.carried), jnp.where(is_better, val_nll, best.val_nll), stale
    )
