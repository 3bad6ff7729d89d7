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
import numpy as np
from jax import Array

from deepuq_jax.functional.gaussian import at_least_float32, sigma_from_rho
from deepuq_jax.functional.scale import logistic, one_program


class PrecisionStep(NamedTuple):
    """A step of the precision, in terms of the stored parameter.

    Attributes:
        rho: the change of rho.
        sigma: the standard deviation after the step.
    """

    rho: Array
    sigma: Array


@partial(jax.jit, static_argnames="limit", inline=True)
def precision_step(rho: Array, gradient: Array, rate: Any, limit: float = math.inf) -> PrecisionStep:
    """Take a natural-gradient step in the precision S = 1 / sigma^2.

    S <- S (1 + a + a^2 / 2),  a = rate * sigma * dL/dsigma, clipped to [-limit, limit],  sigma = softplus(rho)

    The factor is at least 1/2, so the precision stays positive whatever the gradient.

    Args:
        rho: parameter of the posterior, any shape.
        gradient: dL/drho, of the shape of `rho`, with L in nats of the whole data set.
        rate: the share of the old precision that the step replaces.
        limit: the largest |a|, a Python float.
    Source: Lin, Schmidt & Khan 2020, arXiv 2002.10060.

    >>> step = precision_step(jnp.zeros(()), jnp.ones(()), 0.1)
    >>> bool(jnp.isclose(sigma_from_rho(step.rho), step.sigma))
    True
    """
    rho = at_least_float32(rho)
    sigma = sigma_from_rho(rho)
    numerator, denominator = logistic(rho)  # d sigma / d rho
    # d log sigma / d rho is the inverse of this; it is 1 for a sigma that underflows.
    inverse = jnp.where(numerator > 0.0, sigma * denominator / numerator, 1.0)
    a = jnp.clip(rate * gradient * inverse, -limit, limit)
    ratio = 1.0 / jnp.sqrt(1.0 + a + 0.5 * jnp.square(a))
    # exp(rho) = exp(sigma) - 1 grows by this share.
    relative = (ratio - 1.0) * inverse * _expm1_over(sigma * (ratio - 1.0), limit)
    change = jnp.log1p(relative) if rho.dtype == jnp.float64 else jnp.log(1.0 + relative)
    return PrecisionStep(change, sigma * ratio)


def _expm1_over(x: Array, limit: Any) -> Array:
    """Compute (exp(x) - 1) / x.

    If the limit is at most a tenth, a step changes sigma by at most a twentieth. In float32, a sum of seven terms then
    takes the place of the exponential. Its error is below an ulp for |x| <= 0.4, and so for every sigma up to 8.
    """
    if x.dtype == jnp.float32 and isinstance(limit, float) and limit <= 0.1:
        return jnp.polyval(np.asarray([1 / math.factorial(i) for i in range(7, 0, -1)], np.float32), x)
    return jnp.where(x == 0.0, 1.0, jnp.expm1(x) / jnp.where(x == 0.0, 1.0, x))


@one_program
def mean_step(gradient: Array, sigma: Array, learning_rate: Any, limit: Any = jnp.inf) -> Array:
    """Compute the change of mu for a natural-gradient step.

    change = -learning_rate * sigma^2 * dL/dmu, clipped to [-limit * sigma, limit * sigma]

    Args:
        gradient: dL/dmu or its moving average, any shape, with L in nats of the whole data set.
        sigma: the standard deviations of the posterior, of the same shape.
        learning_rate: 1 is Newton's step for a quadratic loss.
        limit: the largest step in standard deviations.

    >>> mean_step(jnp.array([1.0, 1000.0]), jnp.array([0.1, 0.1]), 0.1, limit=0.3)
    Array([-0.001, -0.03 ], dtype=float32)
    """
    in_sigmas = jnp.clip(learning_rate * sigma * gradient, -limit, limit)
    return -sigma * in_sigmas
