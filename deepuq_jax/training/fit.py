"""`fit`, the training loop around `train_epoch` and `train_step`.

For arrays, one compiled program runs an epoch per call (or several short epochs). On a CPU, convolutions run one step
per call. For an iterable, each distinct batch shape compiles a program. The host checks whether a step was not finite,
and whether to stop, after each call that runs epochs; if each step is a call of its own, it checks after each epoch.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import NamedSharding

from deepuq_jax._checks import check_batch, check_count, check_key, expected
from deepuq_jax._inputs import as_arrays
from deepuq_jax._layout import own_rows
from deepuq_jax.likelihoods.base import Likelihood
from deepuq_jax.model.own import check_model
from deepuq_jax.model.precision import checked_compute_dtype
from deepuq_jax.objectives.elbo import mean_nll
from deepuq_jax.objectives.objective import Objective, VariationalObjective
from deepuq_jax.objectives.precision import in_precision
from deepuq_jax.objectives.targets import check_targets
from deepuq_jax.prediction.density import log_predictive_density
from deepuq_jax.standardized import Standardized
from deepuq_jax.training._automatic import can_choose, with_chosen_scale
from deepuq_jax.training._checkpoint import Saver, checked_saving, open_checkpoints
from deepuq_jax.training._data import Arrays, Batches, Data
from deepuq_jax.training._describe import describe
from deepuq_jax.training._packed import named_leaves
from deepuq_jax.training._plan import make_plan, start_run
from deepuq_jax.training._rows import over_devices
from deepuq_jax.training._run import Score
from deepuq_jax.training._scale import warn_of_scale
from deepuq_jax.training.result import FitResult
from deepuq_jax.training.state import TrainState

# The number of draws of the validation score. Ten draws suffice to rank epochs, and each draw costs a forward pass.
_VALIDATION_DRAWS = 10


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
    checkpoint: str | os.PathLike[str] | None = None,
    save_every: int | None = None,
    keep_last: int | None = None,
    sharding: NamedSharding | None = None,
    compute_dtype: Any = None,
    progress: bool = False,
) -> FitResult:
    """Train a Bayesian model on an objective.

    In a classification of 100 to 10,000 examples in one process, `fit` also chooses the scale of the prior by the data,
    if all layers have their default prior, N(0, gain^2 / fan_in). It tries the gains 3 and 6: twice, it trains with
    each on a random 80 % of the examples, for a quarter of the epochs, and it takes the gain that predicts the
    remaining examples better. The returned model has that prior. If any of `objective`, `optimizer`, `epochs`,
    `batch_size`, `patience` and `checkpoint` is set, as in `objective=ELBO()`, the model keeps its prior.

    Args:
        model: a Bayesian model, or the `state` of an earlier `FitResult`, with which training continues: its optimizer
            state and its number of steps go on. `fit` modifies neither. With a state, pass the optimizer that it was
            trained with, at a learning rate that has not fallen to 0; the default objective then has the KL weight 1
            throughout.
        x, y: the data, arrays with a leading axis (or lists, data frames, torch tensors). For data that do not fit into
            memory, pass as `x` an iterable of batches (x, y) that starts anew each epoch (a DataLoader, a list),
            without `y` and with an objective that knows the size of the data, such as `ELBO(num_data=N)`.
        key: a key of `jax.random.key`, which orders the data and draws the noise.
        objective: `ELBO(...)`, `DocumentedELBO(...)`, or any callable (model, x, y, *, key, step) -> (loss, ELBOTerms).
            With arrays, an unset `num_data` is the number of examples. The default is the ELBO. Its KL weight rises
            linearly from 0 to 1: over the first three quarters of the steps, or under `natural_gradient` over the first
            quarter if the model learns Gaussian noise. Under `natural_gradient` with any other likelihood, with
            `patience`, and with an earlier state, it is 1. Noise that depends on the input is pooled at the start of
            natural gradients (the `heteroscedasticity` of `ELBO`), and each example has its own from half of the steps
            on; with `patience`, an objective of your own or an iterable, it is not pooled unless your `ELBO` says so.
            To continue with a trained model, pass `ELBO()`.
        optimizer: any optax optimizer. The default is Adam with a learning rate that falls from 5e-3 to 0 as a cosine
            over the epochs (constant for an iterable without a length). With an `ELBO`, it is
            `natural_gradient(initial_precision=1.0)` in classification, and
            `natural_gradient(initial_precision=0.3, mean_limit=0.1)` in regression with learned Gaussian noise and
            local reparameterization in every layer, as in the regressors; both with that Adam for parameters without a
            posterior. `natural_gradient()` gets its schedule from the number of steps in the same way.
        epochs: number of passes over the data. The default makes about 10,000 steps, in at least one epoch; it is 100
            epochs for an iterable without a length.
        batch_size: number of examples per step, 128 by default, and at most all examples. It must be None for an
            iterable, whose batches have their own size.
        validation_data: (x, y), scored after each epoch by the log predictive density, under the likelihood of the
            objective, or of the model if the objective has none.
        patience: stop after this number of epochs without a better score, and return the best model. This needs
            `validation_data`.
        checkpoint: a folder for checkpoints. The same call again, with the same arguments, goes on from the last
            complete checkpoint there, and its outcome is that of a run that was never stopped, bit for bit on the same
            kind of device. If the run had ended, the call returns its outcome and trains no further. The call may have
            more `epochs` than before, if neither the objective nor the optimizer depends on the number of epochs; the
            default ones do.
        save_every: number of epochs from checkpoint to checkpoint, 1 by default.
        keep_last: number of last checkpoints to keep, 2 by default. With `validation_data`, the checkpoint with the
            lowest `val_nll` is kept too.
        sharding: how each batch lies over several devices, such as NamedSharding(mesh, PartitionSpec("data")). The
            batch size has to be a multiple of the number of parts. Data that are not on these devices yet are copied to
            each of them, and so is the model. By default, batches lie as the data do.
        compute_dtype: dtype in which the model computes, such as jnp.bfloat16; None leaves it to the layers.
            Posteriors, KL, likelihood, gradients, optimizer and BatchNorm statistics stay in float32, and layers whose
            `dtype` is set keep it. The resulting model has the dtypes of the given model, so pass `compute_dtype` to
            predictions too.
        progress: show a tqdm bar over epochs.
    Returns:
        FitResult(model, history, state).
    Warns:
        ScaleWarning: in arrays, an input feature or a real target has a root mean square above 10, or a real target
            that is not constant has a standard deviation below 0.01: wrap the model in `Standardized`. Or natural
            gradients without `initial_precision` start from posteriors that are far too wide.
    Raises:
        ValueError, TypeError: an argument is invalid; or the data hold NaN, infinity or labels out of range; or there
            are no examples, or `x` and `y` have unequal numbers of them.
        ValueError: the checkpoint cannot be read, or is of another run; the message then lists the differences.
        OSError: a checkpoint cannot be written, or another process trains in the folder; earlier checkpoints survive.
        NonFiniteError: a step is not finite; the error carries the step and the last good model.
        BaseException: whatever ends training early, KeyboardInterrupt included, carries the `FitResult` so far in its
            attribute `result`.

    >>> import deepuq_jax as dq
    >>> from flax import nnx
    >>> x = jnp.linspace(-1, 1, 64)[:, None]
    >>> model = dq.BayesByBackpropMLP(1, (16,), 1, likelihood=dq.Gaussian(0.1), rngs=nnx.Rngs(0))
    >>> result = dq.fit(model, x, x**2, key=jax.random.key(0), epochs=30)
    >>> bool(result.history["loss"][-1] < result.history["loss"][0])
    True
    """
    earlier = model if isinstance(model, TrainState) else None
    model = model if earlier is None else earlier.model
    check_model(model)
    check_key(key)
    if patience is not None:
        check_count("patience", patience)
        if validation_data is None:
            raise ValueError("Expected validation_data with patience; got None.")
    saving = checked_saving(checkpoint, save_every, keep_last)
    compute_dtype = checked_compute_dtype(compute_dtype)
    data = _checked_data(x, y, batch_size, sharding)
    plan = make_plan(model, data, objective, optimizer, epochs, has_patience=patience is not None, earlier=earlier)
    plan = plan._replace(objective=in_precision(plan.objective, compute_dtype))
    likelihood = plan.objective.likelihood_for(model)
    if isinstance(data, Arrays) and not isinstance(model, Standardized):
        warn_of_scale(*data.own, likelihood)
    settings = (objective, optimizer, epochs, batch_size, patience, checkpoint)
    if isinstance(data, Arrays) and all(value is None for value in settings) and can_choose(model, data, likelihood):
        model = with_chosen_scale(model, data, plan.epochs, key=key, compute_dtype=compute_dtype)
    held_out = None if validation_data is None else _checked_pair(validation_data)
    score = None if held_out is None else _validation_score(model, plan.objective, held_out, sharding, compute_dtype)
    run = start_run(model, data, plan, earlier=earlier, score=score, patience=patience, progress=progress)
    if saving is None:
        return run.run(key, Saver())
    about = {"model": model, **plan._asdict(), **data.about(), "validation_data": held_out, "patience": patience}
    about |= {"key": key, "start": named_leaves(run.progress.state, run.progress.best)}
    del about["epochs"]  # More epochs are fine, unless the objective or the optimizer depends on their number.
    with open_checkpoints(saving, describe(about), is_scored=score is not None) as saver:
        return run.run(key, saver)


def _checked_data(x: Any, y: Any, batch_size: int | None, sharding: NamedSharding | None) -> Data:
    if y is None:
        return Batches(x, batch_size, sharding)
    return Arrays(as_arrays("x", x), as_arrays("y", y), batch_size, sharding)


def _checked_pair(data: Any) -> tuple[Any, Any]:
    """Return validation data as arrays."""
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise TypeError(expected("validation_data", "to be a pair (x, y)", data))
    x, y = (as_arrays(f"validation_data[{i}]", part) for i, part in enumerate(data))
    check_batch(x, y)
    check_batch(*own_rows("validation_data", (x, y)))
    return x, y


def _validation_score(
    model: Any,
    objective: VariationalObjective,
    data: tuple[Any, Any],
    sharding: NamedSharding | None,
    compute_dtype: Any,
) -> Score:
    """Check validation targets and return the score function."""
    likelihood = objective.likelihood_for(model)
    if likelihood is None:
        what = "with validation_data: create the model with likelihood=Categorical(), for example"
        raise ValueError(expected("likelihood", what, "none"))
    own_x, own_y = own_rows("validation_data", data)
    check_targets(model, own_x, own_y, mean_nll(likelihood))
    data = over_devices(jax.tree.map(jnp.asarray, data), sharding)
    return partial(_score, data=data, likelihood=likelihood, compute_dtype=compute_dtype)


def _score(model: Any, *, key: Array, data: tuple[Any, Any], likelihood: Likelihood, compute_dtype: Any) -> Array:
    density = log_predictive_density(
        model,
        *data,
        key=key,
        n_samples=_VALIDATION_DRAWS,
        log_likelihood=likelihood,
        compute_dtype=compute_dtype,
    )
    return -jnp.mean(density)
