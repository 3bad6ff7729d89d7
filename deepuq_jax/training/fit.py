"""`fit`, the training loop around `train_epoch` and `train_step`.

For arrays, one compiled program runs an epoch per call (several if they are short). On a CPU, convolutions run one
step per call. For an iterable, each distinct batch shape compiles a program. After each epoch, the host checks whether
a step was non-finite and whether to stop.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from deepuq_jax._checks import check_batch, check_count, check_key, expected
from deepuq_jax.likelihoods.base import Likelihood
from deepuq_jax.model.structure import Rest, combine
from deepuq_jax.model.variables import copied
from deepuq_jax.objectives.elbo import mean_nll
from deepuq_jax.objectives.objective import Objective, VariationalObjective, as_objective
from deepuq_jax.objectives.targets import check_targets
from deepuq_jax.prediction.density import log_predictive_density
from deepuq_jax.training import _defaults as default
from deepuq_jax.training._epochs import Arrays, Batches, Epochs
from deepuq_jax.training._progress import progress_bar
from deepuq_jax.training.state import TrainState

# The number of draws of the validation score. Ten draws suffice to rank epochs, and each draw costs a forward pass.
_VALIDATION_DRAWS = 10


class FitResult(NamedTuple):
    """Result of `fit`.

    Attributes:
        model: the trained model; with early stopping, the model of the best epoch.
        history: arrays [epochs] by name: `loss`, `nll` and `kl`, averaged over the examples of each epoch, and, with
            validation data, `val_nll`, the negative log predictive density in nats per example.
        state: the `TrainState` after the last step.
    """

    model: Any
    history: dict[str, np.ndarray]
    state: TrainState


class NonFiniteError(FloatingPointError):
    """A loss or an update is not finite.

    Attributes:
        step: the first such step, counted from 0. It was not applied.
        result: a `FitResult` with the last good model and the history so far.
    """

    def __init__(self, step: int, result: FitResult):
        super().__init__(f"Expected a finite loss and update; got a non-finite one at step {step}.")
        self.step = step
        self.result = result


def fit(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    key: Array,
    objective: Objective | None = None,
    optimizer: optax.GradientTransformation | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    validation_data: tuple[Any, Any] | None = None,
    patience: int | None = None,
    progress: bool = False,
) -> FitResult:
    """Train a Bayesian model on an objective.

    Args:
        model: a Bayesian model; `fit` does not modify it.
        x, y: the data, arrays with a leading axis. For data that do not fit into memory, pass as `x` an iterable of
            batches (x, y) that starts anew each epoch (a DataLoader, a list), without `y` and with an objective that
            knows the size of the data, such as `ELBO(num_data=N)`.
        key: a key of `jax.random.key`, which orders the data and draws the noise.
        objective: `ELBO(...)`, `DocumentedELBO(...)`, or any callable (model, x, y, *, key, step) -> (loss, ELBOTerms).
            With arrays, the number of examples fills in an open `num_data`. The default is the ELBO with a KL weight
            that rises linearly from 0 to 1 over the first three quarters of the steps; it is 1 throughout if the number
            of steps is not known beforehand (with `patience`, or for an iterable without a length). To continue with a
            trained model, pass `ELBO()`, whose weight is 1.
        optimizer: any optax optimizer. The default is Adam with a learning rate that falls from 5e-3 to 0 as a cosine
            over the epochs (constant for an iterable without a length).
        epochs: number of passes over the data. The default makes about 10,000 steps; it is 100 epochs for an iterable
            without a length.
        batch_size: number of examples per step. The default is 128, or all data if they are fewer.
        validation_data: (x, y), scored after each epoch by the log predictive density, under the likelihood of the
            objective, or of the model if the objective has none.
        patience: stop after this number of epochs without a better score, and return the best model. This needs
            `validation_data`.
        progress: show a tqdm bar over epochs.
    Returns:
        FitResult(model, history, state).
    Raises:
        ValueError, TypeError: an argument is invalid, or the data hold NaN or infinity, labels out of range, no
            examples or unequal numbers of examples.
        NonFiniteError: a step is not finite; the error carries the step and the last good model.

    >>> import deepuq_jax as dq
    >>> from flax import nnx
    >>> x = jnp.linspace(-1, 1, 64)[:, None]
    >>> model = dq.BayesByBackpropMLP(1, (16,), 1, likelihood=dq.Gaussian(0.1), rngs=nnx.Rngs(0))
    >>> result = dq.fit(model, x, x**2, key=jax.random.key(0), epochs=30)
    >>> bool(result.history["loss"][-1] < result.history["loss"][0])
    True
    """
    check_key(key)
    if epochs is not None:
        check_count("epochs", epochs)
    if patience is not None:
        check_count("patience", patience)
        if validation_data is None:
            raise ValueError("Expected validation_data with patience; got None.")
    given = None if objective is None else as_objective(objective)
    data = Batches(x, batch_size) if y is None else Arrays(x, y, batch_size)
    epochs = default.epochs_for(data.steps) if epochs is None else epochs
    steps = data.steps * epochs if data.steps else None
    known_steps = steps if patience is None else None  # Early stopping leaves the number of steps open.
    used = default.objective_for(known_steps) if given is None else given
    if y is None and given is None:
        what = "to know the number of examples, as ELBO(num_data=N) does, with an iterable of batches"
        raise ValueError(expected("objective", what, "None"))
    optimizer = default.optimizer_for(steps) if optimizer is None else optimizer
    score = None if validation_data is None else _validation_score(model, used, validation_data)
    passes = data.epochs(model, used, optimizer, one_by_one=progress or score is not None)
    # The epochs donate their buffers, so training starts from a copy and the caller's arrays survive.
    state = copied(TrainState.create(model, optimizer))
    return _run(state, passes, score, key, epochs, patience, progress)


_Score = Callable[..., Array]


def _validation_score(model: Any, objective: VariationalObjective, data: tuple[Any, Any]) -> _Score:
    """Check validation data and return their score function."""
    likelihood = objective.likelihood_for(model)
    if likelihood is None:
        what = "with validation_data to name a likelihood: give the model one, as in likelihood=Categorical()"
        raise ValueError(expected("objective", what, "none"))
    check_batch(*data)
    check_targets(model, *data, mean_nll(likelihood))
    return partial(_score, data=jax.tree.map(jnp.asarray, data), likelihood=likelihood)


def _score(model: Any, *, key: Array, data: tuple[Any, Any], likelihood: Likelihood) -> Array:
    density = log_predictive_density(model, *data, key=key, n_samples=_VALIDATION_DRAWS, log_likelihood=likelihood)
    return -jnp.mean(density)


class _Best(NamedTuple):
    """The best model, its score, and the epochs since then."""

    params: Any
    carried: Any
    val_nll: Array
    stale: Array


def _run(
    state: TrainState,
    passes: Epochs,
    score: _Score | None,
    key: Array,
    epochs: int,
    patience: int | None,
    progress: bool,
) -> FitResult:
    """Train, score and keep the best model, epoch by epoch."""
    train_key, score_key = jax.random.split(key)
    best = None
    if patience is not None:
        params, carried = copied(state.params), copied(state.carried)
        best = _Best(params, carried, jnp.asarray(jnp.inf), jnp.zeros((), jnp.int32))
    rows: list[dict[str, np.ndarray]] = []
    done = 0
    with progress_bar(epochs, progress) as bar:
        while done < epochs:
            state, count, means = passes.run(state, train_key, done, epochs)
            if score is not None:
                # The key is the same after each epoch, so that the scores differ by the model alone.
                means["val_nll"] = score(state.model, key=score_key)[None]
            rows.append({name: np.asarray(values)[: int(count)] for name, values in means.items()})
            if int(state.bad_step) >= 0:
                raise NonFiniteError(int(state.bad_step), FitResult(state.model, _history(rows), state))
            done += int(count)
            bar.update(int(count))
            if progress:
                bar.set_postfix({name: f"{values[-1]:.4g}" for name, values in rows[-1].items()})
            if best is not None and patience is not None:
                best = _keep_best(best, state.params, state.carried, means["val_nll"][0])
                if int(best.stale) >= patience:
                    break
    model = state.model if best is None else combine(best.params, Rest(best.carried, state.structure))
    return FitResult(model, _history(rows), state)


def _history(rows: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


@partial(jax.jit, donate_argnums=0)
def _keep_best(best: _Best, params: Any, carried: Any, val_nll: Array) -> _Best:
    is_better = val_nll < best.val_nll

    def keep(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda new, old: jnp.where(is_better, new, old), new, old)

    stale = jnp.where(is_better, 0, best.stale + 1)
    return _Best(
        keep(params, best.params), keep(carried, best.carried), jnp.where(is_better, val_nll, best.val_nll), stale
    )
