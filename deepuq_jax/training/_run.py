"""The loop of `fit` over epochs.

It trains and scores the model, and keeps the best one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from deepuq_jax.model.structure import Rest, combine
from deepuq_jax.model.variables import copied
from deepuq_jax.training._epochs import Epochs
from deepuq_jax.training._interrupt import deferred_interrupt
from deepuq_jax.training._progress import progress_bar
from deepuq_jax.training.result import FitResult, NonFiniteError
from deepuq_jax.training.state import TrainState

Score = Callable[..., Array]


class _Best(NamedTuple):
    """The best model so far.

    Attributes:
        params, carried: the parts of the model, as in a `TrainState`.
        val_nll: its score.
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
        self._epochs, self._patience, self._progress = epochs, patience, progress
        self._rows: list[dict[str, np.ndarray]] = []
        self._best: _Best | None = None
        if patience is not None:
            start = copied(state.params), copied(state.carried)
            self._best = _Best(*start, jnp.asarray(jnp.inf), jnp.zeros((), jnp.int32))

    def run(self, key: Array) -> FitResult:
        """Train to the end.

        Raises:
            NonFiniteError: a step is not finite.
            BaseException: any error, including Ctrl-C, gets an attribute `result`.
        """
        train_key, score_key = jax.random.split(key)
        try:
            self._run(train_key, score_key)
        except NonFiniteError:
            raise
        except BaseException as error:
            error.result = self.result()  # type: ignore[attr-defined]
            error.add_note("The model so far and its history are in the attribute `result` of this exception.")
            raise
        return self.result()

    def result(self) -> FitResult:
        """Return the result so far.

        Its history holds the complete epochs.
        """
        best, state = self._best, self._state
        is_scored = best is not None and bool(self._rows)
        model = combine(best.params, Rest(best.carried, state.structure)) if best and is_scored else state.model
        names = self._rows[0] if self._rows else ()
        history = {name: np.concatenate([row[name] for row in self._rows]) for name in names}
        return FitResult(model, history, state)

    def _run(self, train_key: Array, score_key: Array) -> None:
        done = 0
        with progress_bar(self._epochs, self._progress) as bar:
            while done < self._epochs:
                count, means = self._passes.run(self._state, train_key, done, self._epochs, self._keep_state)
                if self._score is not None:
                    # The key is the same after each epoch, so that the scores differ by the model alone.
                    means["val_nll"] = self._score(self._state.model, key=score_key)[None]
                count = int(count)
                self._rows.append({name: np.asarray(values)[:count] for name, values in means.items()})
                if int(self._state.bad_step) >= 0:
                    raise NonFiniteError(int(self._state.bad_step), self._last_good())
                done += count
                bar.update(count)
                if self._progress:
                    bar.set_postfix({name: f"{values[-1]:.4g}" for name, values in self._rows[-1].items()})
                if self._is_over(means):
                    break

    def _keep_state(self, state: TrainState) -> None:
        self._state = state

    def _last_good(self) -> FitResult:
        return self.result()._replace(model=self._state.model)

    def _is_over(self, means: dict[str, Array]) -> bool:
        """Keep the best model; return whether patience has run out."""
        if self._best is None or self._patience is None:
            return False
        with deferred_interrupt():
            best = _keep_best(self._best, self._state.params, self._state.carried, means["val_nll"][0])
            self._best = best
        return int(best.stale) >= self._patience


@partial(jax.jit, donate_argnums=0)
def _keep_best(best: _Best, params: Any, carried: Any, val_nll: Array) -> _Best:
    is_better = val_nll < best.val_nll

    def keep(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda new, old: jnp.where(is_better, new, old), new, old)

    stale = jnp.where(is_better, 0, best.stale + 1)
    return _Best(
        keep(params, best.params), keep(carried, best.carried), jnp.where(is_better, val_nll, best.val_nll), stale
    )
