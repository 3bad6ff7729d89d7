"""A model that takes and returns data in their own units."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from deepuq_jax._checks import check_batch, check_real, check_some, expected
from deepuq_jax._inputs import as_arrays
from deepuq_jax.likelihoods.base import Likelihood
from deepuq_jax.likelihoods.rescaled import Rescaled
from deepuq_jax.model.base import BaseModel
from deepuq_jax.model.own import as_model, check_model
from deepuq_jax.model.state import Stateful, with_streams
from deepuq_jax.model.variables import unwrap


class Scaling(nnx.Variable[Any]):
    """Mean and standard deviation of the inputs: carried, not trained."""


class Standardized(Stateful, BaseModel, nnx.Module):
    """A model of standardized data, for data in their own units.

    outputs = model((x - mean(x)) / std(x));  y = mean(y) + std(y) z,  where z follows the model's likelihood

    Networks and their default priors suit inputs and targets of mean 0 and standard deviation 1. `fit`,
    `predict_vi_uq`, `log_predictive_density`, intervals and metrics take and return values in the units of the data:
    variances are scaled, and log densities include the Jacobian of the scaling. Labels, counts and positive targets are
    not transformed.

    A call of the model itself, as in model(x, key=key), takes inputs in the units of the data and returns the outputs
    of the inner model, which are in standard units: the predicted mean is mean(y) + std(y) times such an output. Use
    `predict_vi_uq` for predictions in the units of the targets.

    Args:
        model: a Bayesian model with a likelihood.
        x: training inputs [num_data, ..., features]; each feature is standardized.
        y: training targets [num_data, ..., targets].
    Raises:
        TypeError: `model` is not a Bayesian model, `x` is not a floating array, or real targets `y` are not an array.
        ValueError: the model names no likelihood, or the data are not finite.

    >>> import deepuq_jax as dq
    >>> import jax
    >>> x = np.linspace(0, 1000, 64)[:, None]
    >>> model = dq.HomoscedasticBayesByBackpropRegressor(1, (16,), 1, rngs=nnx.Rngs(0))
    >>> model = Standardized(model, x, 5.0 + 3.0 * x)
    >>> result = dq.predict_vi_uq(model, x, key=jax.random.key(0))
    >>> bool(jnp.sqrt(result.total_var).mean() > 100)  # in units of y
    True
    """

    def __init__(self, model: Any, x: Any, y: Any):
        check_model(model)
        x, y = as_arrays("x", x), as_arrays("y", y)
        check_batch(x, y)
        check_some("x", x)
        if not hasattr(x, "dtype") or not jnp.issubdtype(x.dtype, jnp.floating):
            found = x.dtype.name if hasattr(x, "dtype") else type(x).__name__
            raise TypeError(expected("x", "to be an array of real numbers, for Standardized", found))
        likelihood = as_model(model).named_likelihood()
        if likelihood is None:
            what = "with a likelihood for Standardized, as in likelihood=HomoscedasticGaussian()"
            raise ValueError(expected("model", what, "none"))
        self.model: Any = model if isinstance(model, nnx.Module) else nnx.data(model)
        mean, std = mean_and_std(x)
        dtype = jnp.result_type(jnp.float32, x.dtype) if x.dtype != np.float64 else jnp.result_type(float)
        self.x_mean: Scaling = Scaling(jnp.asarray(mean, dtype))
        self.x_std: Scaling = Scaling(jnp.asarray(std, dtype))
        self.likelihood: Any = nnx.static(_in_units_of(likelihood, y))

    def _standard(self, x: Any) -> Array:
        shape = (1,) * (x.ndim - 1) + (-1,)
        return (x - unwrap(self.x_mean).reshape(shape)) / unwrap(self.x_std).reshape(shape)

    def _forward(self, x: Any, *, key: Array | None = None, noise: Any = None) -> Any:
        """Return the outputs of the inner model."""
        options = {"key": key} if noise is None else {"noise": noise}
        return self.model(self._standard(x), **options)

    def draw_noise(self, x: Any, *, key: Array) -> Any:
        """Draw the noise of `model(x, key=key)`."""
        return as_model(self.model).draw_noise(self._standard(x), key=key)

    def propagate(self, mean: Any, var: Array | None = None) -> tuple[Array, Array]:
        """Compute the moments of the inner model's outputs over its weights."""
        if var is not None:
            var = var / unwrap(self.x_std).reshape((1,) * (var.ndim - 1) + (-1,)) ** 2
        return as_model(self.model).propagate(self._standard(mean), var)

    @property
    def has_closed_form_kl(self) -> bool:
        """Whether the inner model's KL has a closed form."""
        return as_model(self.model).has_closed_form_kl

    def kl(self, key: Array | None = None, *, noise: Any = None) -> Array:
        """Return the inner model's KL(q || p) in nats."""
        return as_model(self.model).kl(key, noise=noise)

    def draw(self, *, key: Array) -> Standardized:
        """Fix the inner model at a single draw."""
        drawn = with_streams(self, None)
        drawn.model = as_model(self.model).draw(key=key)
        return drawn


def mean_and_std(values: Any) -> tuple[np.ndarray, np.ndarray]:
    """Compute mean and standard deviation per feature, in float64.

    They are taken over all axes but the last; a one-dimensional array is a single feature. A constant feature gets the
    standard deviation 1.
    """
    values = np.asarray(values, np.float64)
    flat = values.reshape(-1, values.shape[-1]) if values.ndim > 1 else values[:, None]
    std = flat.std(axis=0)
    return flat.mean(axis=0), np.where(std > 0, std, 1.0)


def _in_units_of(likelihood: Likelihood, y: Any) -> Likelihood:
    if not likelihood.is_real:
        return likelihood
    if not hasattr(y, "dtype"):
        raise TypeError(expected("y", "to be an array, for Standardized", type(y).__name__))
    check_some("y", check_real("y", y))
    mean, std = mean_and_std(y)
    return Rescaled(likelihood, tuple(mean.tolist()), tuple(std.tolist()))
