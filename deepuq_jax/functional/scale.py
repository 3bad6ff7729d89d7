"""The standard deviation sigma = softplus(rho) as a training step takes it: computed once, for the draw and for the KL.

`scale_from_rho` returns sigma, and all that follows differentiates it by log sigma: a tangent or cotangent of a scale
is one of log sigma. In these units the draw's derivative is sigma * noise and the KL's is (sigma / sigma_p)^2 - 1, so
their sum meets d log sigma / d rho once, at the end, and nothing has to be divided by a sigma that underflows. Hence a
scale goes into the functions of this file and nowhere else; `sigma_of_scale` makes an ordinary array of it.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

# Called outside of `jit`, each function is one compiled program, not one for every operation in it; in a caller's
# program it is inlined, and leaves no trace there.
one_program = partial(jax.jit, inline=True)

# log(1 + e) / e for 0 <= e <= 1 as a ratio of polynomials, lowest power first: equal to it at the seven Chebyshev nodes
# of [0, 1], and within a relative 3e-9, a twentieth of a float32 ulp, between. A test solves for them again.
LOG1P_NUMERATOR = (0.999999997006, 1.05361572789, 0.23098594933, 0.00320732984196)
LOG1P_DENOMINATOR = (1.0, 1.55361542833, 0.674465637571, 0.0725296378416)


@one_program
def softplus(rho: Array) -> Array:
    """log(1 + exp(rho)), of a floating array; it has no derivative of its own.

    In float32 log1p is a ratio of polynomials: half the time of XLA's, and since it ends in a division XLA on a CPU
    keeps the result instead of computing it anew wherever it is used.

    >>> softplus(jnp.float32(0.0))  # log 2
    Array(0.6931..., dtype=float32)
    """
    power = jnp.exp(-jnp.abs(rho))
    if rho.dtype != jnp.float32:
        return jnp.maximum(rho, 0.0) + jnp.log1p(power)
    numerator, denominator = (
        jnp.polyval(np.asarray(coefficients[::-1], np.float32), power)
        for coefficients in (LOG1P_NUMERATOR, LOG1P_DENOMINATOR)
    )
    return (jnp.maximum(rho, 0.0) * denominator + power * numerator) / denominator


@one_program
def logistic(rho: Array) -> tuple[Array, Array]:
    """The derivative of softplus, 1 / (1 + exp(-rho)), as a fraction: it keeps its digits where it is small."""
    power = jnp.exp(-jnp.abs(rho))
    return jnp.where(rho >= 0.0, 1.0, power), 1.0 + power


@jax.custom_jvp
def scale_from_rho(rho: Array) -> Array:
    """sigma = softplus(rho), whose tangent is d log sigma = rho_dot / (1 + exp(-rho)) / sigma, and rho_dot where sigma
    vanishes.

    Args:
        rho: any shape, float32 or more.

    >>> jax.jvp(scale_from_rho, (jnp.float32(-200.0),), (jnp.float32(1.0),))[1]
    Array(1., dtype=float32)
    """
    return softplus(rho)


@scale_from_rho.defjvp
@one_program
def _scale_from_rho_jvp(primals, tangents):
    sigma = scale_from_rho(primals[0])
    numerator, denominator = logistic(primals[0])
    # Where sigma is below an ulp of 1 the slope is 1 - sigma / 2, which is 1; a product with so small a numerator could
    # underflow.
    is_large = sigma > jnp.finfo(sigma.dtype).eps / 16
    numerator, denominator = jnp.where(is_large, numerator, 1.0), jnp.where(is_large, denominator * sigma, 1.0)
    # Divided before it is multiplied: so the backward pass multiplies first and ends in the division, after which XLA
    # on a CPU keeps the gradient instead of computing it anew in each of the optimizer's moments.
    return sigma, tangents[0] / denominator * numerator


@jax.custom_jvp
def sigma_of_scale(scale: Array) -> Array:
    """The same numbers as an ordinary array, d sigma = sigma d log sigma."""
    return scale


@sigma_of_scale.defjvp
def _sigma_of_scale_jvp(primals, tangents):
    return primals[0], primals[0] * tangents[0]


@jax.custom_jvp
@one_program
def draw_at_scale(mu: Array, scale: Array, noise: Array) -> Array:
    """w = mu + sigma * noise, all of one shape."""
    return mu + scale * noise


@draw_at_scale.defjvp
@one_program
def _draw_at_scale_jvp(primals, tangents):
    mu, scale, noise = primals
    mu_dot, log_sigma_dot, noise_dot = tangents
    return draw_at_scale(mu, scale, noise), mu_dot + scale * noise * log_sigma_dot + scale * noise_dot


@jax.custom_jvp
@one_program
def kl_at_scale(mu: Array, scale: Array, rho: Array, prior_mu: Array, prior_sigma: Array) -> Array:
    """KL(N(mu, sigma^2) || N(prior_mu, prior_sigma^2)), element by element, in nats; see `gaussian.gaussian_kl`.

    d^2/2 + (d - log(1 + d)) + z^2/2,  d = sigma / prior_sigma - 1,  z = (mu - prior_mu) / prior_sigma

    Args:
        mu, scale: of q, any one shape.
        rho: the one that `scale` was computed from, to have log sigma where sigma has underflowed; no gradient
            goes to it.
        prior_mu, prior_sigma: anything that broadcasts.
    """
    inverse = 1.0 / prior_sigma
    d, z, ratio = (scale - prior_sigma) * inverse, (mu - prior_mu) * inverse, scale * inverse
    # log1p(d) as log(u) d / (u - 1) for the u nearest to 1 + d (Kahan): one logarithm serves s near 1 and s near 0.
    is_near = ratio == 1.0
    log_ratio = jnp.where(is_near, d, jnp.log(ratio) * (d / jnp.where(is_near, 1.0, ratio - 1.0)))
    # Where sigma has underflowed its logarithm is rho itself.
    log_ratio = jnp.where(ratio > 0.0, log_ratio, rho - jnp.log(prior_sigma))
    return 0.5 * (jnp.square(d) + jnp.square(z)) + jnp.maximum(d - log_ratio, 0.0)


@kl_at_scale.defjvp
@one_program
def _kl_at_scale_jvp(primals, tangents):
    mu, scale, _, prior_mu, prior_sigma = primals
    mu_dot, log_sigma_dot, _, prior_mu_dot, prior_sigma_dot = tangents
    inverse = 1.0 / prior_sigma
    d, z = (scale - prior_sigma) * inverse, (mu - prior_mu) * inverse
    excess = d * (2.0 + d)  # s^2 - 1, without its cancellation
    log_prior_sigma_dot = prior_sigma_dot * inverse
    tangent = excess * (log_sigma_dot - log_prior_sigma_dot) + z * (
        (mu_dot - prior_mu_dot) * inverse - z * log_prior_sigma_dot
    )
    return kl_at_scale(*primals), tangent
