"""Likelihood of positive targets with noise in proportion to their size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from deepuq_jax._arguments import real_arrays
from deepuq_jax._checks import check_key, check_real, expected, is_concrete
from deepuq_jax.functional.gaussian import HALF_LOG_2PI, at_least_float32
from deepuq_jax.functional.likelihood import check_target_shape, points_of, split_unless_known
from deepuq_jax.likelihoods.base import FactorizedLikelihood
from deepuq_jax.likelihoods.gaussian import positive_number


@dataclass(frozen=True)
class LogNormal(FactorizedLikelihood):
    """Likelihood of positive targets whose logarithm is Gaussian.

    log y_d ~ N(m_d, sigma^2), so the median of y is exp(m) and its mean exp(m + sigma^2 / 2).

    Args:
        sigma: standard deviation of log y, a Python number; the outputs are then m, of the shape of `y`. If it is None,
            the outputs are [batch, 2 d]: d means m, then d raw variances of log y, each softplus(raw) + 1e-6. They
            depend on the input if the network predicts them, and are constant if `LearnedNoise` appends them.
    Raises:
        TypeError: sigma is an array. ValueError: sigma is not finite and positive.

    >>> LogNormal(0.5).quantile(jnp.zeros((1, 1)), 0.5)
    Array([[1.]], dtype=float32)
    """

    sigma: float | None = None
    is_positive = True
    heteroscedastic = True

    def __post_init__(self) -> None:
        if self.sigma is not None:
            object.__setattr__(self, "sigma", positive_number("sigma", self.sigma))

    @real_arrays("outputs", "y", broadcast=False, min_axes=1)
    def log_prob_per_target(self, outputs: Array, y: Array) -> Array:
        """Log density of each target in nats, of the shape of `y`."""
        m, var = self._parts(outputs)
        check_target_shape(y, m.shape)
        log_y = jnp.log(_positive(y).astype(m.dtype))
        return -0.5 * (jnp.square(log_y - m) / var + jnp.log(var)) - HALF_LOG_2PI - log_y

    @real_arrays("outputs", min_axes=1)
    def moments(self, outputs: Array) -> tuple[Array, Array]:
        """Means exp(m + v / 2), and variances mean^2 (exp(v) - 1), with v the variance of log y."""
        m, var = self._parts(outputs)
        mean = jnp.exp(m + 0.5 * var)
        return mean, jnp.square(mean) * jnp.expm1(var)

    @real_arrays("outputs", min_axes=1)
    def sample(self, outputs: Array, *, key: Array) -> Array:
        """Draw targets, one per output."""
        check_key(key)
        m, var = self._parts(outputs)
        return jnp.exp(m + jnp.sqrt(var) * jax.random.normal(key, m.shape, m.dtype))

    @real_arrays("outputs", min_axes=1)
    def cdf(self, outputs: Array, t: Array) -> Array:
        """Compute P(y <= t | outputs) per target."""
        m, var = self._parts(outputs)
        t = points_of("t", t, m)
        is_inside = t > 0
        z = (jnp.log(jnp.where(is_inside, t, 1.0)) - m) / jnp.sqrt(var)
        return jnp.where(is_inside, jax.scipy.special.ndtr(z), 0.0)

    @real_arrays("outputs", min_axes=1)
    def quantile(self, outputs: Array, p: Any) -> Array:
        """Compute the quantile per target, in closed form."""
        m, var = self._parts(outputs)
        return jnp.exp(m + jnp.sqrt(var) * jax.scipy.special.ndtri(points_of("p", p, m)))

    def _parts(self, outputs: Array) -> tuple[Array, Array]:
        """Return mean and variance of log y."""
        return split_unless_known(outputs, None if self.sigma is None else self.sigma**2)


def _positive(y: Any) -> Array:
    """Return targets; concrete ones must be positive."""
    check_real("y", y)
    if is_concrete(y) and not (np.asarray(y) >= np.finfo(np.float32).tiny).all():
        message = expected("y", "to be positive for LogNormal", f"{np.asarray(y).min()} among its entries")
        raise ValueError(message)
    return at_least_float32(y)
