"""`fit`: the training loop, a thin shell around `train_epoch` and `train_step`.

With arrays one compiled program for the whole run, which takes an epoch a call, remainder batch included, or some
epochs where they are short; with an iterable one a distinct batch shape. The host is asked after each call: did a step
turn non-finite, is it time to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sized
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from deepuq_jax import _fit_defaults as default
from deepuq_jax._checks import check_batch, check_count, check_finite_number, check_key, check_num_data, expected
from deepuq_jax._noise import draw_key
from deepuq_jax._progress import progress_bar
from deepuq_jax.objective import check_targets, resolve_likelihood
from deepuq_jax.prediction import log_predictive_density
from deepuq_jax.training import TrainState, init, train_epoch, train_step
from deepuq_jax.types import ELBOTerms

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
            an optax schedule. Default: from 0 to 1 in a straight line over the first half of the steps, then 1, the
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
        validation_data = _checked(model, *validation_data, log_likelihood)
    options = {
        "log_likelihood": log_likelihood,
        "mc_samples": mc_samples,
        "sticking_the_landing": bool(sticking_the_landing),
        "antithetic": bool(antithetic),
        "schedule": kl_weight if callable(kl_weight) else None,
    }
    if y is None:
        epochs_of, steps = _epochs_of_batches(model, x, num_data, batch_size, options)
        at_once = 1
    else:
        epochs_of, steps = _epochs_of_arrays(model, x, y, num_data, batch_size, options)
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


def _checked(model: Any, x: Any, y: Any, log_likelihood: Callable) -> tuple[Any, Any]:
    """The data on the device, once it is known to be sound."""
    check_batch(x, y)
    check_targets(model, x, y, log_likelihood)
    return jax.tree.map(jnp.asarray, (x, y))


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


_MEANS = ("loss", "nll", "kl")


def _mean_over_examples(history: ELBOTerms, sizes: Any) -> dict[str, Array]:
    sizes = jnp.asarray(sizes, history.nll.dtype)
    return {name: jnp.average(getattr(history, name), weights=sizes) for name in _MEANS}


_STATIC = ("optimizer", "log_likelihood", "mc_samples", "sticking_the_landing", "antithetic", "schedule")


@partial(jax.jit, static_argnames=(*_STATIC, "batch_size", "at_once"), donate_argnums=0)
def _epochs(state, x, y, key, first, epochs, num_data, weight, *, at_once, schedule, batch_size, **options):
    """Epochs from `first` on: `at_once` of them, fewer at the end and after a step that is not finite.

    Returns:
        (state, how many were run, their means [at_once] by name: entries from that number on mean nothing).
    """
    size = jax.tree.leaves(x)[0].shape[0]
    sizes = [batch_size] * (size // batch_size) + [size % batch_size] * bool(size % batch_size)
    options |= dict(batch_size=batch_size, num_data=num_data, kl_weight=default.schedule_of(schedule, weight))

    def is_next(carry):
        i, state, _ = carry
        return (i < at_once) & (first + i < epochs) & (state.bad_step < 0)

    def one_epoch(carry):
        i, state, rows = carry
        state, history = train_epoch(state, x, y, key=draw_key(key, first + i), **options)
        means = _mean_over_examples(history, sizes)
        return i + 1, state, {name: rows[name].at[i].set(means[name]) for name in rows}

    rows = {name: jnp.zeros(at_once) for name in _MEANS}
    ran, state, rows = jax.lax.while_loop(is_next, one_epoch, (jnp.zeros((), jnp.int32), state, rows))
    return state, ran, rows


@partial(jax.jit, static_argnames=_STATIC, donate_argnums=0)
def _step(state, x, y, key, num_data, weight, *, schedule, **options):
    return train_step(
        state, x, y, key=key, num_data=num_data, kl_weight=default.schedule_of(schedule, weight), **options
    )


def _epochs_of_arrays(model, x, y, num_data, batch_size, options) -> tuple[Callable, int]:
    """An epoch over arrays, checked before the first one, and its steps."""
    x, y = _checked(model, x, y, options["log_likelihood"])
    size = jax.tree.leaves(x)[0].shape[0]
    if batch_size is None:
        batch_size = min(default.BATCH_SIZE, size)
    if check_count("batch_size", batch_size) > size:
        raise ValueError(expected("batch_size", f"to be at most the {size} examples", f"{batch_size}"))
    num_data = size if num_data is None else num_data
    check_num_data(num_data)

    def epochs_of(
        state: TrainState, key: Array, first: int, epochs: int, *, weight: Any, **static: Any
    ) -> tuple[Any, Any, Any]:
        return _epochs(state, x, y, key, first, epochs, num_data, weight, batch_size=batch_size, **static, **options)

    return epochs_of, -(-size // batch_size)


def _epochs_of_batches(model, batches, num_data, batch_size, options) -> tuple[Callable, int | None]:
    """An epoch over an iterable, each batch checked as it comes, and its steps where it tells them."""
    if isinstance(batches, (jax.Array, np.ndarray)) or not isinstance(batches, Iterable):
        raise ValueError(expected("y", "with an array x (or x an iterable of batches)", "None"))
    if batch_size is not None:
        raise ValueError(expected("batch_size", "to be set by the batches themselves", f"{batch_size}"))
    if num_data is None:
        raise ValueError(expected("num_data", "with an iterable of batches", "None"))
    check_num_data(num_data)

    def epoch_of(
        state: TrainState, key: Array, first: int, _: int, *, weight: Any, optimizer: Any, at_once: int
    ) -> tuple[Any, Any, Any]:
        key, terms, sizes = draw_key(key, first), [], []
        for i, (x, y) in enumerate(batches):
            x, y = jax.tree.map(np.asarray, (x, y))
            sizes.append(check_batch(x, y))
            check_targets(state.model, x, y, options["log_likelihood"])
            state, step_terms = _step(state, x, y, draw_key(key, i), num_data, weight, optimizer=optimizer, **options)
            terms.append(step_terms)
        if not terms:
            raise ValueError("Expected an iterable that starts anew each epoch; got one without a batch.")
        means = _mean_over_examples(jax.tree.map(lambda *values: jnp.stack(values), *terms), sizes)
        return state, at_once, {name: mean[None] for name, mean in means.items()}

    return epoch_of, len(batches) if isinstance(batches, Sized) else None
