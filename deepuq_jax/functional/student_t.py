"""Density and distribution function of Student's t."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax.functional.counts import stirling_error
from deepuq_jax.functional.gaussian import HALF_LOG_2PI


def student_t_log_prob(z: Array, df: Array) -> Array:
    """Log density of Student's t.

    log Gamma((df + 1)/2) - log Gamma(df/2) - log(pi df)/2 - (df + 1)/2 log(1 + z^2/df)

    The Gamma functions are compared through the errors of Stirling's formula, so that large degrees of freedom keep
    their precision and the limit is the Gaussian density.

    Args:
        z: points, any shape.
        df: positive degrees of freedom, of the same shape.

    >>> student_t_log_prob(jnp.zeros(1), jnp.ones(1))  # -log pi
    Array([-1.1447...], dtype=float32)
    """
    half = 0.5 * df
    constant = half * jnp.log1p(1 / df) - 0.5 + stirling_error(half + 0.5) - stirling_error(half)
    return constant - HALF_LOG_2PI - (half + 0.5) * jnp.log1p(jnp.square(z) / df)


def student_t_cdf(z: Array, df: Array) -> Array:
    """Distribution function of Student's t, for arrays of the same shape.

    JAX has no derivative of the incomplete beta function with respect to `df`, and raises an error if it is needed.

    >>> [round(float(p), 4) for p in student_t_cdf(jnp.array([0.0, 1.0]), jnp.ones(2))]
    [0.5, 0.75]
    """
    # Each form is accurate where it is used: `inside` would lose the tail, and `tail` would lose z near the centre. At
    # the centre itself, the derivative of the incomplete beta function is infinite, and the distribution function is
    # linear to rounding.
    is_centre, is_near = jnp.abs(z) < jnp.finfo(z.dtype).eps ** (1 / 3), jnp.square(z) < df
    centre = 0.5 + z * jnp.exp(student_t_log_prob(jnp.zeros_like(z), df))
    near, far = jnp.where(is_near & ~is_centre, z, 1.0), jnp.where(is_near, 1.0, z)
    share = jax.scipy.special.betainc(jnp.full_like(df, 0.5), 0.5 * df, jnp.square(near) / (df + jnp.square(near)))
    inside = 0.5 + 0.5 * jnp.sign(near) * share
    tail = 0.5 * jax.scipy.special.betainc(0.5 * df, jnp.full_like(df, 0.5), df / (df + jnp.square(far)))
    return jnp.where(is_centre, centre, jnp.where(is_near, inside, jnp.where(z > 0, 1 - tail, tail)))
