"""The base class of Gaussian likelihoods, and the likelihood with known noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._arguments import real_arrays
from deepuq_jax._checks import check_key, check_positive, expected
from deepuq_jax.functional.gaussian import at_least_float32
from deepuq_jax.functional.likelihood import gaussian_log_densities, points_of
from deepuq_jax.likelihoods.base import FactorizedLikelihood


class GaussianLikelihood(FactorizedLikelihood):
    """A likelihood that is a Gaussian with the mean and variance of `moments`."""

    keeps_draws = False

    @real_arrays("outputs", min_axes=1)
    def sample(self, outputs: Any, *, key: Array) -> Array:
        """Draw targets, one per output."""
        check_key(key)
        mean, std = self._mean_std(outputs)
        return mean + std * jax.random.normal(key, mean.shape, mean.dtype)

    @real_arrays("outputs", min_axes=1)
    def cdf(self, outputs: Any, t: Any) -> Array:
        """Compute P(y <= t | outputs) per target."""
        mean, std = self._mean_std(outputs)
        return jax.scipy.special.ndtr((points_of("t", t, mean) - mean) / std)

    @real_arrays("outputs", min_axes=1)
    def quantile(self, outputs: Any, p: Any) -> Array:
        """Compute the quantile per target, in closed form."""
        mean, std = self._mean_std(outputs)
        return mean + std * jax.scipy.special.ndtri(points_of("p", p, mean))

    def _mean_std(self, outputs: Any) -> tuple[Array, Array]:
        mean, var = self.moments(outputs)
        return at_least_float32(mean), jnp.sqrt(jnp.asarray(var))


@dataclass(frozen=True)
class Gaussian(GaussianLikelihood):
    """Likelihood of real targets with known noise.

    log p(y | outputs) = sum_d log N(y_d; outputs_d, sigma^2)

    `sigma` is a Python number, since a likelihood is a static part of a model. For traced noise, call
    `functional.gaussian_log_likelihood` in a function of your own; for learned noise, use `HomoscedasticGaussian` or
    `HeteroscedasticGaussian`.

    Args:
        sigma: standard deviation of the noise, in units of `y`.
    Raises:
        TypeError: sigma is an array. ValueError: sigma is not finite and positive.

    >>> Gaussian(sigma=0.5).moments(jnp.array([[2.0]]))
    (Array([[2.]], dtype=float32), Array([[0.25]], dtype=float32))
    """

    sigma: float = 1.0
    has_fixed_noise = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigma", positive_number("sigma", self.sigma))

    @real_arrays("outputs", "y", broadcast=False, min_axes=1)
    def log_prob_per_target(self, outputs: Array, y: Array) -> Array:
        """Log density of each target in nats, of the shape of `y`."""
        return gaussian_log_densities(outputs, y, self.sigma)

    @real_arrays("outputs", min_axes=1)
    def moments(self, outputs: Array) -> tuple[Array, Array]:
        """The outputs as means, and sigma^2 as their variances."""
        return outputs, jnp.full_like(at_least_float32(outputs), math.pow(self.sigma, 2))


def positive_number(name: str, value: Any) -> float:
    """Return a number of a likelihood as a Python number.

    Raises:
        TypeError: the value is a JAX array or has axes. ValueError: it is not finite and positive.
    """
    if isinstance(value, jax.Array) or getattr(value, "shape", ()) != ():
        message = expected(name, "to be a Python number", value)
        raise TypeError(f"{message} A likelihood is static: use float({name}), or learn the noise in the outputs.")
    check_positive(name, value)
    return value.item() if hasattr(value, "item") else value
