"""`fit`, the training loop around `train_epoch` and `train_step`.

For arrays, one compiled program runs an epoch per call (or several short epochs). On a CPU, convolutions run one step
per call. For an iterable, each distinct batch shape compiles a program. The host checks whether a step was non-finite,
and whether to stop, after each program of epochs; where each step is a call of its own, it checks after each epoch.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from deepuq_jax._checks import check_batch, check_count, check_key, check_optimizer, expected
from deepuq_jax._inputs import as_arrays
from deepuq_jax.likelihoods.base import Likelihood
from deepuq_jax.model.own import check_model
from deepuq_jax.model.variables import copied
from deepuq_jax.objectives.elbo import mean_nll
from deepuq_jax.objectives.objective import Objective, VariationalObjective, as_objective
from deepuq_jax.objectives.targets import check_targets
from deepuq_jax.prediction.density import log_predictive_density
from deepuq_jax.standardized import Standardized
from deepuq_jax.training import _defaults as default
from deepuq_jax.training._data import Arrays, Batches
from deepuq_jax.training._run import Run, Score
from deepuq_jax.training._scale import warn_of_scale
from deepuq_jax.training.natural_gradient import NaturalGradient
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
    progress: bool = False,
) -> FitResult:
    """Train a Bayesian model on an objective.

    Args:
        model: a Bayesian model; `fit` does not modify it.
        x, y: the data, arrays with a leading axis (or lists, data frames, torch tensors). For data that do not fit into
            memory, pass as `x` an iterable of batches (x, y) that starts anew each epoch (a DataLoader, a list),
            without `y` and with an objective that knows the size of the data, such as `ELBO(num_data=N)`.
        key: a key of `jax.random.key`, which orders the data and draws the noise.
        objective: `ELBO(...)`, `DocumentedELBO(...)`, or any callable (model, x, y, *, key, step) -> (loss, ELBOTerms).
            With arrays, an unset `num_data` is the number of examples. The default is the ELBO with a KL weight
            that rises linearly from 0 to 1 over the first three quarters of the steps; with `patience`, and with
            `natural_gradient`, it is 1 throughout. To continue with a trained model, pass `ELBO()`, whose weight is 1.
        optimizer: any optax optimizer. The default is Adam with a learning rate that falls from 5e-3 to 0 as a cosine
            over the epochs (constant for an iterable without a length). `natural_gradient()` gets its schedule from the
            number of steps in the same way.
        epochs: number of passes over the data. The default makes about 10,000 steps; it is 100 epochs for an iterable
            without a length.
        batch_size: number of examples per step, 128 by default; all data if they are fewer. It must be None for an
            iterable, whose batches have their own size.
        validation_data: (x, y), scored after each epoch by the log predictive density, under the likelihood of the
            objective, or of the model if the objective has none.
        patience: stop after this number of epochs without a better score, and return the best model. This needs
            `validation_data`.
        progress: show a tqdm bar over epochs.
    Returns:
        FitResult(model, history, state).
    Warns:
        ScaleWarning: in arrays, an input feature or a real target has a root mean square above 10, or a target that is
            not constant has a standard deviation below 0.01. `Standardized` is the remedy.
    Raises:
        ValueError, TypeError: an argument is invalid, or the data hold NaN or infinity, labels out of range, no
            examples or unequal numbers of examples.
        NonFiniteError: a step is not finite; the error carries the step and the last good model.
        Any exception that ends training early, KeyboardInterrupt included, carries the `FitResult` so far as `result`.

    >>> import deepuq_jax as dq
    >>> from flax import nnx
    >>> x = jnp.linspace(-1, 1, 64)[:, None]
    >>> model = dq.BayesByBackpropMLP(1, (16,), 1, likelihood=dq.Gaussian(0.1), rngs=nnx.Rngs(0))
    >>> result = dq.fit(model, x, x**2, key=jax.random.key(0), epochs=30)
    >>> bool(result.history["loss"][-1] < result.history["loss"][0])
    True
    """
    check_model(model)
    check_key(key)
    if optimizer is not None:
        check_optimizer("optimizer", optimizer)
    if epochs is not None:
        check_count("epochs", epochs)
    if patience is not None:
        check_count("patience", patience)
        if validation_data is None:
            raise ValueError("Expected validation_data with patience; got None.")
    given = None if objective is None else as_objective(objective)
    data = Batches(x, batch_size) if y is None else Arrays(as_arrays("x", x), as_arrays("y", y), batch_size)
    epochs = default.epochs_for(data.steps) if epochs is None else epochs
    data.check_epochs(epochs)
    steps = data.steps * epochs if data.steps else None
    # Early stopping leaves the number of steps open, and natural gradients need no warm-up.
    warms_up = patience is None and not isinstance(optimizer, NaturalGradient)
    used = default.objective_for(steps if warms_up else None) if given is None else given
    if y is None and given is None:
        what = "to be set for an iterable of batches, as in ELBO(num_data=N)"
        raise ValueError(expected("objective", what, "None"))
    if isinstance(data, Arrays):
        used = used.for_data(data.size)
    if isinstance(optimizer, NaturalGradient):
        optimizer = optimizer.for_training(steps, getattr(used, "num_data", None))
    optimizer = default.optimizer_for(steps) if optimizer is None else optimizer
    if isinstance(data, Arrays) and not isinstance(model, Standardized):
        warn_of_scale(data.x, data.y, used.likelihood_for(model))
    score = None if validation_data is None else _validation_score(model, used, validation_data)
    passes = data.epochs(model, used, optimizer, one_by_one=progress or score is not None)
    # The epochs donate their buffers, so training starts from a copy and the caller's arrays survive.
    state = copied(TrainState.create(model, optimizer))
    return Run(state, passes, score, epochs=epochs, patience=patience, progress=progress).run(key)


def _validation_score(model: Any, objective: VariationalObjective, data: tuple[Any, Any]) -> Score:
    """Check validation data and return their score function."""
    likelihood = objective.likelihood_for(model)
    if likelihood is None:
        what = "with validation_data: give the model one, as in likelihood=Categorical()"
        raise ValueError(expected("likelihood", what, "none"))
    _check_pair(data)
    data = tuple(as_arrays(f"validation_data[{i}]", part) for i, part in enumerate(data))
    check_batch(*data)
    check_targets(model, *data, mean_nll(likelihood))
    return partial(_score, data=jax.tree.map(jnp.asarray, data), likelihood=likelihood)


def _check_pair(data: Any) -> None:
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise TypeError(expected("validation_data", "to be a pair (x, y)", data))


def _score(model: Any, *, key: Array, data: tuple[Any, Any], likelihood: Likelihood) -> Array:
    density = log_predictive_density(model, *data, key=key, n_samples=_VALIDATION_DRAWS, log_likelihood=likelihood)
    return -jnp.mean(density)
