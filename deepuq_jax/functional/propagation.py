"""Mean and variance through a layer in closed form, units taken as independent Gaussians.

Source: Wu, Nowozin, Meeds, Turner, Hernández-Lobato & Gaunt 2019, Deterministic Variational Inference for Robust
Bayesian Neural Networks, arXiv 1810.03958, in its diagonal form.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array


def relu_moments(mean: Array, var: Array) -> tuple[Array, Array]:
    """Mean and variance of max(h, 0) for h ~ N(mean, var), element by element.

    With s = sqrt(var), a = mean / s, Phi and phi of the standard normal, and Q = 1 - Phi:
    E = mean Phi(a) + s phi(a),  V = var (Phi + a^2 Phi Q + a phi (Q - Phi) - phi^2)

    V is E[h^2] - E^2 multiplied out, so that nothing cancels where a is large.

    Args:
        mean: any shape. var: variances (not stds), that shape; 0 gives (max(mean, 0), 0).
    Returns:
        (mean, variance), that shape.

    >>> mean, var = relu_moments(jnp.zeros(()), jnp.ones(()))
    >>> round(float(mean), 4), round(float(var), 4)  # 1 / sqrt(2 pi), 1/2 - 1 / (2 pi)
    (0.3989, 0.3408)
    """
    is_random = var > 0.0
    std = jnp.sqrt(jnp.where(is_random, var, 1.0))
    a = mean / std
    below, above = jax.scipy.special.ndtr(-a), jax.scipy.special.ndtr(a)
    density = jax.scipy.stats.norm.pdf(a)
    share = above + a * a * above * below + a * density * (below - above) - density * density
    return (
        jnp.where(is_random, mean * above + std * density, jnp.maximum(mean, 0.0)),
        jnp.where(is_random, var * jnp.maximum(share, 0.0), 0.0),
    )
