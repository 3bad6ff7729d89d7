"""Closed-form mean and variance through an activation.

The units of a layer are treated as independent Gaussians.

Source: Wu, Nowozin, Meeds, Turner, Hernández-Lobato & Gaunt 2019, Deterministic Variational Inference for Robust
Bayesian Neural Networks, arXiv 1810.03958, in its diagonal form.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._arguments import real_arrays
from deepuq_jax.functional.gaussian import at_least_float32

# Beyond this number of standard deviations from 0, the smaller side has no probability even in float64.
_ENDS = 40.0


@real_arrays("mean", "var")
def relu_moments(mean: Array, var: Array) -> tuple[Array, Array]:
    """Mean and variance of max(h, 0), element by element.

    For h ~ N(mean, var), let s = sqrt(var) and a = mean / s, let Phi and phi be the distribution function and the
    density of the standard normal, and let Q = 1 - Phi. Then
    E = mean Phi(a) + s phi(a),  V = var (Phi + a^2 Phi Q + a phi (Q - Phi) - phi^2).

    V is the difference of the second moment and E^2, multiplied out so that nothing cancels for large a.

    Args:
        mean: means, any shape.
        var: variances (not stds), of the shape of `mean`; a variance of 0 (or below the smallest normal
            number) gives (max(mean, 0), 0).
    Returns:
        (mean, variance), each of the shape of `mean`.

    >>> mean, var = relu_moments(jnp.zeros(()), jnp.ones(()))
    >>> round(float(mean), 4), round(float(var), 4)  # 1 / sqrt(2 pi), 1/2 - 1 / (2 pi)
    (0.3989, 0.3408)
    """
    mean, var = at_least_float32(mean), at_least_float32(var)
    mean, var = jnp.broadcast_arrays(mean, var)
    is_random = var >= jnp.finfo(var.dtype).tiny
    std = jnp.sqrt(jnp.where(is_random, var, 1.0))
    # At the ends the variance is 0 or `var` to all digits, and a^2 would overflow beyond them.
    a = jnp.clip(mean / std, -_ENDS, _ENDS)
    below, above = jax.scipy.special.ndtr(-a), jax.scipy.special.ndtr(a)
    density = jax.scipy.stats.norm.pdf(a)
    share = above + a * a * above * below + a * density * (below - above) - density * density
    return (
        jnp.where(is_random, mean * above + std * density, jnp.maximum(mean, 0.0)),
        jnp.where(is_random, var * jnp.maximum(share, 0.0), 0.0),
    )
