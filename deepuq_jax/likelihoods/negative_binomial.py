"""Likelihood of counts that vary more than Poisson counts.

Source: Hilbe 2011, Negative Binomial Regression, the parametrization NB2.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._arguments import real_arrays
from deepuq_jax._checks import check_key
from deepuq_jax.functional.counts import negative_binomial_cdf, negative_binomial_log_prob
from deepuq_jax.functional.likelihood import check_target_shape, points_of, split_unless_known
from deepuq_jax.likelihoods.base import FactorizedLikelihood
from deepuq_jax.likelihoods.gaussian import positive_number


@dataclass(frozen=True)
class NegativeBinomial(FactorizedLikelihood):
    """Likelihood of counts with mean m and variance m + dispersion m^2.

    In terms of scipy's `nbinom(n, p)`: n = 1 / dispersion and p = 1 / (1 + dispersion m). A dispersion near 0 gives
    `Poisson`.

    Args:
        dispersion: a Python number; the outputs are then log m, of the shape of `y`. If it is None, the outputs are
            [batch, 2 d]: d log means, then d raw dispersions, each softplus(raw) + 1e-6. They depend on the input if
            the network predicts them, and are constant if `LearnedNoise` appends them.
    Raises:
        TypeError: dispersion is an array. ValueError: dispersion is not finite and positive.

    >>> NegativeBinomial(0.5).moments(jnp.log(jnp.full((1, 1), 2.0)))
    (Array([[2.]], dtype=float32), Array([[4.]], dtype=float32))
    """

    dispersion: float | None = None
    heteroscedastic = True
    is_discrete = True

    def __post_init__(self) -> None:
        if self.dispersion is not None:
            object.__setattr__(self, "dispersion", positive_number("dispersion", self.dispersion))

    @real_arrays("outputs", "y", broadcast=False, min_axes=1)
    def log_prob_per_target(self, outputs: Array, y: Array) -> Array:
        """Log probability of each count in nats, of the shape of `y`."""
        log_mean, dispersion = self._parts(outputs)
        check_target_shape(y, log_mean.shape)
        return negative_binomial_log_prob(log_mean, dispersion, y)

    @real_arrays("outputs", min_axes=1)
    def moments(self, outputs: Array) -> tuple[Array, Array]:
        """Means m and variances m + dispersion m^2."""
        log_mean, dispersion = self._parts(outputs)
        mean = jnp.exp(log_mean)
        return mean, mean * (1.0 + dispersion * mean)

    @real_arrays("outputs", min_axes=1)
    def sample(self, outputs: Array, *, key: Array) -> Array:
        """Draw counts, one per mean, as Poisson counts with a Gamma rate."""
        check_key(key)
        log_mean, dispersion = self._parts(outputs)
        rate_key, count_key = jax.random.split(key)
        rate = jax.random.gamma(rate_key, 1.0 / dispersion, log_mean.shape, log_mean.dtype)
        return jax.random.poisson(count_key, rate * dispersion * jnp.exp(log_mean))

    @real_arrays("outputs", min_axes=1)
    def cdf(self, outputs: Array, t: Array) -> Array:
        """Compute P(y <= t | outputs) per target."""
        log_mean, dispersion = self._parts(outputs)
        return negative_binomial_cdf(log_mean, dispersion, points_of("t", t, log_mean))

    def _parts(self, outputs: Array) -> tuple[Array, Array]:
        """Return log means and dispersions."""
        return split_unless_known(outputs, self.dispersion)
