"""The natural-gradient step of a diagonal Gaussian posterior.

For q(w) = N(w; mu, 1/S) and a loss L in nats of the whole data set, the natural gradient in mu is (dL/dmu) / S, and in
the precision S it is -(1/sigma) dL/dsigma. A step along it, with the correction that keeps the precision positive, is

    S <- S (1 + a + a^2 / 2),   a = rate * sigma * dL/dsigma
    mu <- mu - learning_rate * (dL/dmu) / S

Source: Khan et al. 2018, arXiv 1806.04854; the correction: Lin, Schmidt & Khan 2020, arXiv 2002.10060.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._arguments import real_arrays
from deepuq_jax._checks import check_real, describe, expected
from deepuq_jax._polynomial import polynomial
from deepuq_jax.functional.gaussian import at_least_float32, sigma_from_rho
from deepuq_jax.functional.scale import one_program

_TAIL = -40.0
_TAIL_SIGMA = math.exp(_TAIL)


class PrecisionStep(NamedTuple):
    """A step of the precision, in terms of the stored parameter.

    Attributes:
        rho: the change of rho.
        sigma: the standard deviation after the step.
    """

    rho: Array
    sigma: Array


def precision_step(rho: Array, gradient: Array, rate: Any, limit: Any = math.inf) -> PrecisionStep:
    """Take a natural-gradient step in the precision S = 1 / sigma^2.

    S <- S (1 + a + a^2 / 2),  a = rate * sigma * dL/dsigma, clipped to [-limit, limit],  sigma = softplus(rho)

    The factor is at least 1/2, so the precision stays positive whatever the gradient.

    Args:
        rho: parameter of the posterior, any shape.
        gradient: dL/drho, of the shape of `rho`, with L in nats of the whole data set.
        rate: the share of the old precision that the step replaces.
        limit: the largest |a|, a positive Python float.
    Returns:
        The step. Where rate * sigma * dL/dsigma is not finite it is NaN, so that training stops.
    Raises:
        TypeError: `limit` is not a positive float, or another argument is not real. ValueError: the shapes differ.
    Source: Lin, Schmidt & Khan 2020, arXiv 2002.10060.

    >>> step = precision_step(jnp.zeros(()), jnp.ones(()), 0.1)
    >>> bool(jnp.isclose(sigma_from_rho(step.rho), step.sigma))
    True
    """
    return _precision_step(rho, gradient, rate, _checked_limit(limit))


def _checked_limit(limit: Any) -> float:
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not 0.0 < limit <= math.inf:
        raise TypeError(expected("limit", "to be a Python float above zero", describe(limit)))
    check_real("limit", limit)
    return float(limit)


@real_arrays("rho", "gradient", "rate")
@partial(jax.jit, static_argnames="limit", inline=True)
def _precision_step(rho: Array, gradient: Array, rate: Any, limit: float) -> PrecisionStep:
    rho = at_least_float32(rho)
    sigma = sigma_from_rho(rho)
    # Below rho = -40, sigma is exp(rho) to all digits, and nothing here depends on rho any more.
    body = jnp.maximum(sigma, _TAIL_SIGMA)
    inverse_odds = jnp.exp(-jnp.maximum(rho, _TAIL))
    # d sigma / d rho = 1 / (1 + exp(-rho)), so sigma * dL/dsigma has this factor.
    a = rate * gradient * (body * (1.0 + inverse_odds))
    a = clipped(a, limit)
    ratio = 1.0 / jnp.sqrt(1.0 + a + 0.5 * jnp.square(a))
    # From rho = log(exp(sigma) - 1), for a step from sigma to sigma + x:
    # change = x + log(1 - exp(-rho) * (exp(-x) - 1))
    x = body * (ratio - 1.0)
    share = -inverse_odds * _expm1(-x, limit)
    change = x + (jnp.log(1.0 + share) if rho.dtype == jnp.float32 else jnp.log1p(share))
    return PrecisionStep(change, sigma * ratio)


class ScaleStep(NamedTuple):
    """A step of the precision, in terms of the standard deviation.

    Attributes:
        change: the change of sigma.
        sigma: the standard deviation after the step.
    """

    change: Array
    sigma: Array


def scale_step(sigma: Array, gradient: Array, rate: Any, limit: Any = math.inf) -> ScaleStep:
    """Take a natural-gradient step in the precision S = 1 / sigma^2.

    S <- S (1 + a + a^2 / 2),  a = rate * dL/dlog sigma, clipped to [-limit, limit]

    It is `precision_step` for a posterior that stores sigma. A step shrinks sigma to no less than a thousandth, since
    the sum of sigma and its change would lose the digits of a smaller one.

    Args:
        sigma: standard deviations of the posterior, any shape.
        gradient: dL/dlog sigma = sigma * dL/dsigma, of the shape of `sigma`, with L in nats of the whole data set.
        rate, limit: as in `precision_step`.
    Returns:
        The step. Where rate * dL/dlog sigma is not finite it is NaN, so that training stops.
    Raises:
        TypeError: `limit` is not a positive float, or another argument is not real. ValueError: the shapes differ.
    Source: Lin, Schmidt & Khan 2020, arXiv 2002.10060.

    >>> step = scale_step(jnp.ones(()), jnp.ones(()), 0.1)
    >>> round(float(step.sigma**-2), 4)
    1.105
    """
    return _scale_step(sigma, gradient, rate, _checked_limit(limit))


@real_arrays("sigma", "gradient", "rate")
@partial(jax.jit, static_argnames="limit", inline=True)
def _scale_step(sigma: Array, gradient: Array, rate: Any, limit: float) -> ScaleStep:
    sigma = at_least_float32(sigma)
    a = clipped(rate * gradient, limit)
    growth = jnp.minimum(a + 0.5 * jnp.square(a), 1e6 - 1.0)
    # 1 / root - 1 without cancellation. XLA on a CPU keeps the result of a division, so the change is computed once for
    # sigma and for the step of the mean.
    root = jnp.sqrt(1.0 + growth)
    change = -sigma * growth / (root * (1.0 + root))
    return ScaleStep(change, sigma + change)


def clipped(values: Array, limit: Any) -> Array:
    """Clip to [-limit, limit], but turn infinity into NaN.

    An infinite gradient must not pass for a long step.
    """
    return jnp.where(jnp.isfinite(values), jnp.clip(values, 0.0 - limit, limit), jnp.nan)


def _expm1(x: Array, limit: Any) -> Array:
    """Compute exp(x) - 1 for the change x of sigma.

    If the limit is at most a tenth, |x| is at most a twentieth of sigma. In float32, seven terms of the series then
    take the place of the exponential. Their error is below an ulp up to a sigma of 8; above it, the result is
    multiplied by exp(-rho), which is small, and the error is lost in rounding.
    """
    if x.dtype == jnp.float32 and isinstance(limit, float) and limit <= 0.1:
        return x * polynomial([1 / math.factorial(i) for i in range(1, 8)], x)
    return jnp.expm1(jnp.minimum(x, 80.0))


@real_arrays("gradient", "sigma", "learning_rate", "limit")
@one_program
def mean_step(gradient: Array, sigma: Array, learning_rate: Any, limit: Any = jnp.inf) -> Array:
    """Compute the change of mu for a natural-gradient step.

    change = -learning_rate * sigma^2 * dL/dmu, clipped to [-limit * sigma, limit * sigma]

    Args:
        gradient: dL/dmu or its moving average, any shape, with L in nats of the whole data set.
        sigma: the standard deviations of the posterior, of the same shape.
        learning_rate: 1 is Newton's step for a quadratic loss.
        limit: the largest step in standard deviations.
    Returns:
        The change. Where learning_rate * sigma * dL/dmu is not finite it is NaN, so that training stops.

    >>> mean_step(jnp.array([1.0, 1000.0]), jnp.array([0.1, 0.1]), 0.1, limit=0.3)
    Array([-0.001, -0.03 ], dtype=float32)
    """
    return -(sigma * clipped(learning_rate * sigma * gradient, limit))
