"""The standard deviation sigma = softplus(rho) of a training step: computed once, used by the draw and by the KL.

A `Scale` holds sigma, and its tangents and cotangents are those of log sigma. In these units the derivative of a draw
is sigma * noise and that of the KL is (sigma / sigma_p)^2 - 1, so their sum meets d log sigma / d rho once, at the end,
and nothing is divided by a sigma that underflows. The functions of this file take a `Scale`; `sigma_of_scale` turns one
into an ordinary array.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from deepuq_jax._pytree import register

# Called outside of `jit`, each function is one compiled program instead of one per operation; within a caller's program
# it is inlined and leaves no trace.
one_program = partial(jax.jit, inline=True)

# log(1 + e) / e for 0 <= e <= 1 as a ratio of polynomials, lowest power first: equal to it at the seven Chebyshev nodes
# of [0, 1], and within a relative 3e-9, a twentieth of a float32 ulp, between. A test solves for them again.
LOG1P_NUMERATOR = (0.999999997006, 1.05361572789, 0.23098594933, 0.00320732984196)
LOG1P_DENOMINATOR = (1.0, 1.55361542833, 0.674465637571, 0.0725296378416)


@register()
@dataclass(frozen=True)
class Scale:
    """Standard deviations that are differentiated by their logarithm: the tangent of `value` is d log sigma.

    Attributes:
        value: sigma, any shape.
    """

    value: Array

    def broadcast_to(self, shape: tuple[int, ...]) -> Scale:
        """The same scale in a larger shape."""
        return Scale(jnp.broadcast_to(self.value, shape))


@one_program
def softplus(rho: Array) -> Array:
    """log(1 + exp(rho)), of a floating array; it has no derivative of its own.

    In float32 log1p is a ratio of polynomials: half the time of XLA's, and since it ends in a division XLA on a CPU
    keeps the result instead of computing it anew wherever it is used.

    >>> softplus(jnp.float32(0.0))  # log 2
    Array(0.6931..., dtype=float32)
    """
    power = jnp.exp(-jnp.abs(rho))
    # A subnormal sigma has few digits, and its inverse square overflows: it counts as 0 everywhere, as a CPU has it.
    power = jnp.where(power < jnp.finfo(rho.dtype).tiny, 0.0, power)
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
def scale_from_rho(rho: Array) -> Scale:
    """The scale sigma = softplus(rho).

    Its tangent is d log sigma = rho_dot / (1 + exp(-rho)) / sigma, and rho_dot where sigma vanishes.

    Args:
        rho: any shape, float32 or more.

    >>> jax.jvp(scale_from_rho, (jnp.float32(-200.0),), (jnp.float32(1.0),))[1]
    Scale(value=Array(1., dtype=float32))
    """
    return Scale(softplus(rho))


@scale_from_rho.defjvp
@one_program
def _scale_from_rho_jvp(primals: Any, tangents: Any) -> Any:
    scale = scale_from_rho(primals[0])
    sigma = scale.value
    numerator, denominator = logistic(primals[0])
    # Where sigma is below an ulp of 1 the slope is 1 - sigma / 2, which is 1; a product with so small a numerator could
    # underflow.
    is_large = sigma > jnp.finfo(sigma.dtype).eps / 16
    numerator, denominator = jnp.where(is_large, numerator, 1.0), jnp.where(is_large, denominator * sigma, 1.0)
    # Divided before it is multiplied: so the backward pass multiplies first and ends in the division, after which XLA
    # on a CPU keeps the gradient instead of computing it anew in each of the optimizer's moments.
    return scale, Scale(tangents[0] / denominator * numerator)


@jax.custom_jvp
def sigma_of_scale(scale: Scale) -> Array:
    """The standard deviations as an ordinary array, d sigma = sigma d log sigma."""
    return scale.value


@sigma_of_scale.defjvp
def _sigma_of_scale_jvp(primals: Any, tangents: Any) -> Any:
    sigma, log_sigma_dot = primals[0].value, tangents[0].value
    return sigma, sigma * log_sigma_dot


@jax.custom_jvp
@one_program
def draw_at_scale(mu: Array, scale: Scale, noise: Array) -> Array:
    """w = mu + sigma * noise, all of one shape."""
    return mu + scale.value * noise


@draw_at_scale.defjvp
@one_program
def _draw_at_scale_jvp(primals: Any, tangents: Any) -> Any:
    mu, scale, noise = primals
    mu_dot, scale_dot, noise_dot = tangents
    sigma, log_sigma_dot = scale.value, scale_dot.value
    return draw_at_scale(mu, scale, noise), mu_dot + sigma * noise * log_sigma_dot + sigma * noise_dot


@jax.custom_jvp
@one_program
def kl_at_scale(mu: Array, scale: Scale, rho: Array, prior_mu: Array, prior_sigma: Array) -> Array:
    """KL(N(mu, sigma^2) || N(prior_mu, prior_sigma^2)), element by element, in nats; see `gaussian.gaussian_kl`.

    d^2/2 + (d - log(1 + d)) + z^2/2,  d = sigma / prior_sigma - 1,  z = (mu - prior_mu) / prior_sigma

    Args:
        mu, scale: of q, any one shape.
        rho: the one that `scale` was computed from, which gives log sigma where sigma has underflowed; it gets no
            gradient.
        prior_mu, prior_sigma: anything that broadcasts.
    """
    sigma, inverse = scale.value, 1.0 / prior_sigma
    d, z, ratio = (sigma - prior_sigma) * inverse, (mu - prior_mu) * inverse, sigma * inverse
    # log1p(d) as log(u) d / (u - 1) for the u nearest to 1 + d (Kahan): one logarithm serves s near 1 and s near 0.
    is_near = ratio == 1.0
    log_ratio = jnp.where(is_near, d, jnp.log(ratio) * (d / jnp.where(is_near, 1.0, ratio - 1.0)))
    # Where the ratio has underflowed, or has lost its digits to being subnormal, log sigma is rho itself.
    is_normal = ratio >= jnp.finfo(ratio.dtype).tiny
    log_ratio = jnp.where(is_normal, log_ratio, rho - jnp.log(prior_sigma))
    return 0.5 * (jnp.square(d) + jnp.square(z)) + jnp.maximum(d - log_ratio, 0.0)


@kl_at_scale.defjvp
@one_program
def _kl_at_scale_jvp(primals: Any, tangents: Any) -> Any:
    mu, scale, _, prior_mu, prior_sigma = primals
    mu_dot, scale_dot, _, prior_mu_dot, prior_sigma_dot = tangents
    log_sigma_dot, inverse = scale_dot.value, 1.0 / prior_sigma
    d, z = (scale.value - prior_sigma) * inverse, (mu - prior_mu) * inverse
    excess = d * (2.0 + d)  # s^2 - 1, without its cancellation
    log_prior_sigma_dot = prior_sigma_dot * inverse
    tangent = excess * (log_sigma_dot - log_prior_sigma_dot) + z * (
        (mu_dot - prior_mu_dot) * inverse - z * log_prior_sigma_dot
    )
    return kl_at_scale(*primals), tangent
