"""Likelihood of real targets with known Gaussian noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import check_positive, expected
from deepuq_jax.functional.gaussian import at_least_float32
from deepuq_jax.functional.likelihood import gaussian_log_likelihood
from deepuq_jax.likelihoods.base import Likelihood


@dataclass(frozen=True)
class Gaussian(Likelihood):
    """Likelihood of real targets with known noise.

    log p(y | outputs) = sum_d log N(y_d; outputs_d, sigma^2)

    `sigma` is a Python number, since a likelihood is a static part of a model. For traced noise, call
    `functional.gaussian_log_likelihood` in a function of your own; for learned noise, use `HeteroscedasticGaussian`.

    Args:
        sigma: standard deviation of the noise, in units of `y`.
    Raises:
        TypeError: sigma is an array. ValueError: sigma is not finite and positive.

    >>> Gaussian(sigma=0.5).moments(jnp.array([[2.0]]))
    (Array([[2.]], dtype=float32), Array([[0.25]], dtype=float32))
    """

    sigma: float = 1.0
    has_fixed_noise = True

    def __post_init__(self):
        if hasattr(self.sigma, "shape"):
            raise TypeError(expected("sigma", "to be a Python number", self.sigma))
        check_positive("sigma", self.sigma)

    def log_prob(self, outputs: Array, y: Array) -> Array:
        """Log density of the targets in nats, [batch]."""
        return gaussian_log_likelihood(outputs, y, self.sigma)

    def moments(self, outputs: Array) -> tuple[Array, Array]:
        """The outputs as means, and sigma^2 as their variances."""
        return outputs, jnp.full_like(at_least_float32(outputs), math.pow(self.sigma, 2))
