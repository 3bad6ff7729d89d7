"""`fit`: the training loop, a thin shell around `train_epoch` and `train_step`.

With arrays one compiled program for the whole run, which takes an epoch a call, remainder batch included, or some
epochs where they are short (convolutions on a CPU go a step a call); with an iterable one a distinct batch shape. The
host is asked after each epoch: did a step turn non-finite, is it time to stop.
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

from deepuq_jax import _fit_defaults as default
from deepuq_jax._checks import check_count, check_finite_number, check_key
from deepuq_jax._epochs import checked, over_arrays, over_batches
from deepuq_jax._progress import progress_bar
from deepuq_jax.objective import resolve_likelihood
from deepuq_jax.prediction import log_predictive_density
from deepuq_jax.training import init

# Epochs shorter than this are run several a call: going in and out of one costs some 30 steps of a small net.
_STEPS_A_CALL = 250
# Draws of the validation score: enough to rank epochs, and each costs a forward pass.
_VALIDATION_DRAWS = 10


class FitResult(NamedTuple):
    """What `fit` returns.

    Attributes:
        model: as trained; with early stopping, as it was at its best epoch.
        history: arrays [epochs]: `loss`, `nll` and `kl` averaged over the examples of each epoch, and with validation
            data `val_nll`, the negative log predictive density per example, nats.
    """

    model: Any
    history: dict[str, np.ndarray]


class NonFiniteError(FloatingPointError):
    """The loss or the update turned non-finite.

    Attributes:
        step: the first such step, counted from 0. It was not applied.
        result: `FitResult` with the last good model and the history so far.
    """

    def __init__(self, step: int, result: FitResult):
        super().__init__(f"Expected a finite loss and update; got a non-finite one at step {step}.")
        self.step = step
        self.result = result


class _Best(NamedTuple):
    """The best model so far, its score, and the epochs since."""

    model: Any
    val_nll: Array
    stale: Array


def fit(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    key: Array,
    log_likelihood: Callable | None = None,
    optimizer: optax.GradientTransformation | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    num_data: int | None = None,
    kl_weight: Any = None,
    mc_samples: int = 1,
    sticking_the_landing: bool = False,
    antithetic: bool = False,
    validation_data: tuple[Any, Any] | None = None,
    patience: int | None = None,
    progress: bool = False,
) -> FitResult:
    """Train a Bayesian model on `negative_elbo`.

    Args:
        model: a Bayesian model; it is left as it is.
        x, y: the data, arrays with a leading axis; or for data that does not fit, `x` an iterable of batches (x, y)
            that starts anew each epoch (a DataLoader, a list), without `y` and with `num_data`.
        key: one key of `jax.random.key`: orders the data and draws the noise.
        log_likelihood: (outputs, y) -> [batch], nats. Default: the model's `likelihood`, else `Categorical()`.
        optimizer: any optax optimizer; default Adam from 5e-3, falling to 0 as a cosine over the epochs (constant where
            an iterable does not tell its length).
        epochs: passes over the data; default as many as make 10,000 steps, and 100 where the length is not told.
        batch_size: default 128, or all the data where that is less.
        num_data: number of examples in the whole data set; needed with an iterable only.
        kl_weight: a number (another one does not recompile) or a function of the step: one of `deepuq_jax.schedules`,
            an optax schedule. Default: from 0 to 1 in a straight line over three quarters of the steps, then 1, the
            ELBO; 1 throughout where the number of steps is not told beforehand (`patience`, an iterable without a
            length). To go on with a trained model give 1.
        mc_samples: draws a step.
        sticking_the_landing: as in `negative_elbo`: gradients of less variance late in training.
        antithetic: as in `negative_elbo`: draws in opposite pairs, for an even `mc_samples`.
        validation_data: (x, y), scored after each epoch by the log predictive density.
        patience: stop after so many epochs without a better score, and return the best model; needs validation data.
        progress: a tqdm bar over epochs.
    Returns:
        FitResult(model, history).
    Raises:
        ValueError, TypeError: bad arguments; NaN or infinity, labels out of range, empty or unequal data.
        NonFiniteError: a step turned non-finite; it carries the step and the last good model.

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
    check_count("mc_samples", mc_samples)
    if kl_weight is not None and not callable(kl_weight):
        check_finite_number("kl_weight", kl_weight)
    if patience is not None:
        check_count("patience", patience)
        if validation_data is None:
            raise ValueError("Expected validation_data with patience; got None.")
    log_likelihood = resolve_likelihood(model, log_likelihood)
    if validation_data is not None:
        validation_data = checked(model, *validation_data, log_likelihood)
    options = {
        "log_likelihood": log_likelihood,
        "mc_samples": mc_samples,
        "sticking_the_landing": bool(sticking_the_landing),
        "antithetic": bool(antithetic),
        "schedule": kl_weight if callable(kl_weight) else None,
    }
    if y is None:
        epochs_of, steps = over_batches(x, num_data, batch_size, options)
        at_once = 1
    else:
        epochs_of, steps = over_arrays(model, x, y, num_data, batch_size, options)
        at_once = 1 if progress or validation_data is not None else max(1, _STEPS_A_CALL // steps)
    epochs = default.epochs_for(steps) if epochs is None else epochs
    all_steps = steps * epochs if steps else None
    optimizer = default.optimizer_for(all_steps) if optimizer is None else optimizer
    weight = default.weight_and_warm_up(kl_weight, all_steps if patience is None else None)
    # The epochs give their buffers back to be written over: train on a copy, so that the caller's arrays survive.
    state = _copy(init(model, optimizer))
    score = None if validation_data is None else partial(_score, data=validation_data, log_likelihood=log_likelihood)
    epochs_of = partial(epochs_of, weight=weight, optimizer=optimizer, at_once=at_once)
    return _run(state, epochs_of, score, key, epochs, patience, progress)


def _run(state, epochs_of, score, key, epochs, patience, progress) -> FitResult:
    """The loop over epochs: train, score, keep the best, stop."""
    train_key, score_key = jax.random.split(key)
    best = None if patience is None else _Best(_copy(state.model), jnp.asarray(jnp.inf), jnp.zeros((), jnp.int32))
    rows: list[dict[str, np.ndarray]] = []
    done = 0
    with progress_bar(epochs, progress) as bar:
        while done < epochs:
            state, ran, row = epochs_of(state, train_key, done, epochs)
            if score is not None:
                # The same draws after each epoch: the scores differ by the model alone.
                row["val_nll"] = score(state.model, key=score_key)[None]
            rows.append({name: np.asarray(values)[: int(ran)] for name, values in row.items()})
            if int(state.bad_step) >= 0:
                raise NonFiniteError(int(state.bad_step), FitResult(state.model, _history(rows)))
            done += int(ran)
            bar.update(int(ran))
            if progress:
                bar.set_postfix({name: f"{values[-1]:.4g}" for name, values in rows[-1].items()})
            if best is not None and patience is not None:
                best = _keep_best(best, state.model, row["val_nll"][0])
                if int(best.stale) >= patience:
                    break
    return FitResult(state.model if best is None else best.model, _history(rows))


def _history(rows: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _copy(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), tree)


@partial(jax.jit, donate_argnums=0)
def _keep_best(best: _Best, model: Any, val_nll: Array) -> _Best:
    is_better = val_nll < best.val_nll
    model = jax.tree.map(lambda new, old: jnp.where(is_better, new, old), model, best.model)
    return _Best(model, jnp.where(is_better, val_nll, best.val_nll), jnp.where(is_better, 0, best.stale + 1))


def _score(model: Any, *, key: Array, data: tuple[Any, Any], log_likelihood: Callable) -> Array:
    density = log_predictive_density(model, *data, key=key, n_samples=_VALIDATION_DRAWS, log_likelihood=log_likelihood)
    return -jnp.mean(density)
