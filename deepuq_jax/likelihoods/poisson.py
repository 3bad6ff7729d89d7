"""Likelihood of counts."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._arguments import real_arrays
from deepuq_jax._checks import check_key
from deepuq_jax.functional.counts import poisson_cdf, poisson_log_prob
from deepuq_jax.functional.gaussian import at_least_float32
from deepuq_jax.functional.likelihood import check_target_shape, points_of
from deepuq_jax.likelihoods.base import FactorizedLikelihood


@dataclass(frozen=True)
class Poisson(FactorizedLikelihood):
    """Likelihood of counts, given the log of their rate.

    log p(y | outputs) = sum_d y_d outputs_d - exp(outputs_d) - log y_d!

    The targets are counts of the shape of the outputs, integers or whole floats. For an exposure (a time, an area), add
    its log to the output of the network.

    >>> Poisson().moments(jnp.zeros((1, 1)))
    (Array([[1.]], dtype=float32), Array([[1.]], dtype=float32))
    """

    heteroscedastic = True
    is_discrete = True

    @real_arrays("outputs", "y", broadcast=False, min_axes=1)
    def log_prob_per_target(self, outputs: Array, y: Array) -> Array:
        """Log probability of each count in nats, of the shape of `y`."""
        check_target_shape(y, outputs.shape)
        return poisson_log_prob(outputs, y)

    @real_arrays("outputs", min_axes=1)
    def moments(self, outputs: Array) -> tuple[Array, Array]:
        """The rates, as means and as variances."""
        rate = jnp.exp(at_least_float32(outputs))
        return rate, rate

    @real_arrays("outputs", min_axes=1)
    def sample(self, outputs: Array, *, key: Array) -> Array:
        """Draw counts, one per output."""
        check_key(key)
        return jax.random.poisson(key, self.moments(outputs)[0])

    @real_arrays("outputs", min_axes=1)
    def cdf(self, outputs: Array, t: Array) -> Array:
        """Compute P(y <= t | outputs) per target."""
        log_rate = at_least_float32(outputs)
        return poisson_cdf(log_rate, points_of("t", t, log_rate))
