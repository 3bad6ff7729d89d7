"""Log-probabilities and distribution functions of counts.

The formulas compare a count with its mean through log(mean / y), so that float32 is enough for large counts: at a count
of 10,000, the sum of y log(mean), the mean and log y! would have an absolute error of 1e-2.

Source: Loader 2000, Fast and accurate computation of binomial probabilities.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from deepuq_jax._checks import expected, is_concrete
from deepuq_jax.functional.gaussian import HALF_LOG_2PI, at_least_float32

# From here on the series of Stirling's error has a relative error of 3e-12 and an absolute error of 2e-14.
_SERIES_FROM = 16.0


def check_counts(y: Any) -> Array:
    """Return counts as floats; inside `jit`, anything but a count is NaN.

    Raises:
        ValueError: a concrete array holds anything but whole numbers from 0 on.
    """
    if is_concrete(y):
        values = np.asarray(y).astype(np.float64)
        bad = values[~((values >= 0) & (values == np.floor(values)))]
        if bad.size:
            raise ValueError(expected("y", "to be counts, whole numbers from 0 on", f"{bad[0]} among its entries"))
        return at_least_float32(y)
    y = at_least_float32(y)
    return jnp.where((y >= 0) & (y == jnp.floor(y)), y, jnp.nan)


def stirling_error(z: Array) -> Array:
    """Error of Stirling's formula, log z! - (z + 1/2) log z + z - log(2 pi) / 2, for z > 0."""
    large, small = jnp.maximum(z, _SERIES_FROM), jnp.minimum(z, _SERIES_FROM)
    inverse_square = 1 / jnp.square(large)
    series = (1 / 12 - (1 / 360 - (1 / 1260 - inverse_square / 1680) * inverse_square) * inverse_square) / large
    direct = jax.lax.lgamma(small + 1) - (small + 0.5) * jnp.log(small) + small - 0.5 * math.log(2 * math.pi)
    return jnp.where(z > _SERIES_FROM, series, direct)


def poisson_log_prob(log_rate: Array, y: Array) -> Array:
    """Log probability of counts with a given log rate.

    log p(y) = y log_rate - exp(log_rate) - log y!

    Args:
        log_rate: log of the mean, any shape.
        y: counts of the same shape.
    Returns:
        log probability in nats, of the same shape.

    >>> poisson_log_prob(jnp.zeros(1), jnp.ones(1))
    Array([-1.], dtype=float32)
    """
    log_rate = at_least_float32(log_rate)
    y = check_counts(y).astype(log_rate.dtype)
    above = jnp.maximum(y, 1.0)
    delta = log_rate - jnp.log(above)
    some = above * (delta - jnp.expm1(delta)) - 0.5 * jnp.log(above) - HALF_LOG_2PI - stirling_error(above)
    return jnp.where(y == 0, -jnp.exp(log_rate), some)


def negative_binomial_log_prob(log_mean: Array, dispersion: Array, y: Array) -> Array:
    """Log probability of counts with mean m and variance m + dispersion m^2.

    With r = 1 / dispersion,
    log p(y) = log Gamma(y + r) - log Gamma(r) - log y! + r log(r / (r + m)) + y log(m / (r + m)).

    Args:
        log_mean: log of the mean, any shape.
        dispersion: positive, of the same shape; dispersion -> 0 gives the Poisson distribution.
        y: counts of the same shape.
    Returns:
        log probability in nats, of the same shape.

    >>> negative_binomial_log_prob(jnp.zeros(1), jnp.ones(1), jnp.zeros(1))  # log(1 / 2)
    Array([-0.6931...], dtype=float32)
    """
    log_mean, dispersion = at_least_float32(log_mean), at_least_float32(dispersion)
    y = check_counts(y).astype(log_mean.dtype)
    r, above = 1 / dispersion, jnp.maximum(y, 1.0)
    # With a the smaller of y and r, both forms of the deviance are a e - (y + r) log(1 + a (exp(e) - 1) / (y + r)).
    delta = log_mean - jnp.log(above)
    e, a = jnp.where(above <= r, delta, -delta), jnp.minimum(above, r)
    share = a / (above + r)
    near = jnp.log1p(share * jnp.expm1(jnp.minimum(e, 1.0)))
    far = jnp.logaddexp(jnp.log1p(-share), jnp.maximum(e, 1.0) + jnp.log(share))
    deviance = a * e - (above + r) * jnp.where(e > 1.0, far, near)
    errors = stirling_error(above + r) - stirling_error(r) - stirling_error(above)
    some = deviance - 0.5 * jnp.log1p(dispersion * above) - 0.5 * jnp.log(above) - HALF_LOG_2PI + errors
    return jnp.where(y == 0, -r * jnp.logaddexp(0.0, log_mean + jnp.log(dispersion)), some)


def poisson_cdf(log_rate: Array, t: Array) -> Array:
    """Probability of a count of at most `t`.

    The incomplete gamma function of JAX has an error of 1e-6 at a rate of 10, 1e-4 at 1,000 and 4e-2 at 100,000 in
    float32, and at most 1e-10 in float64.

    >>> round(float(poisson_cdf(jnp.zeros(()), jnp.zeros(()))), 4)  # exp(-1)
    0.3679
    """
    rate = jnp.exp(at_least_float32(log_rate))
    t = jnp.asarray(t, rate.dtype)
    k, is_inside = _whole_below(t, rate, rate)
    below_end = jax.scipy.special.gammaincc(k + 1.0, rate)
    return jnp.where(t < 0, 0.0, jnp.where(is_inside, below_end, 1.0))


def negative_binomial_cdf(log_mean: Array, dispersion: Array, t: Array) -> Array:
    """Probability of a count of at most `t`.

    The incomplete beta function of JAX has, in float32, an error of 1e-5 for a mean of 10 and a dispersion from 0.1
    to 10, 3e-4 for a mean of 1,000, and up to 9e-2 for a dispersion of 1e-6; in float64 it is below 1e-9.

    >>> round(float(negative_binomial_cdf(jnp.zeros(()), jnp.ones(()), jnp.zeros(()))), 4)
    0.5
    """
    mean, dispersion = jnp.exp(at_least_float32(log_mean)), at_least_float32(dispersion)
    t = jnp.asarray(t, mean.dtype)
    k, is_inside = _whole_below(t, mean, mean * (1 + dispersion * mean))
    below_end = jax.scipy.special.betainc(1 / dispersion, k + 1.0, 1 / (1 + dispersion * mean))
    return jnp.where(t < 0, 0.0, jnp.where(is_inside, below_end, 1.0))


def _whole_below(t: Array, mean: Array, var: Array) -> tuple[Array, Array]:
    """Return floor(t), and whether it is within reach.

    Beyond 30 standard deviations and 100 scales of a geometric tail, less than exp(-100) is left. The special functions
    are not called there, where they would loop for long.
    """
    end = mean + 30 * jnp.sqrt(var) + 100 * var / jnp.maximum(mean, jnp.finfo(mean.dtype).tiny) + 100
    return jnp.floor(jnp.clip(t, 0.0, end)), t < end
