"""Standard deviations sigma = softplus(rho) that draws and KL share.

A training step computes sigma once, as a `Scale`. A `Scale` holds sigma, but its tangents and cotangents refer to
log sigma. With respect to log sigma, the derivative of a draw is sigma * noise and the derivative of the KL is
(sigma / sigma_p)^2 - 1. The backward pass multiplies their sum by d log sigma / d rho once, at the end, and never
divides by a sigma that has underflowed. The functions of this file take a `Scale`, and `sigma_of_scale` turns a `Scale`
into an ordinary array. The derivative rules use it too: a rule that computed with `value` would give wrong second
derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._polynomial import polynomial
from deepuq_jax._pytree import register

# A ratio of polynomials, lowest power first, that approximates log(1 + e) / e for 0 <= e <= 1. It is exact at the
# seven Chebyshev nodes of [0, 1]; between them its relative error is at most 3e-9, a twentieth of a float32 ulp. A
# test solves for the coefficients again.
LOG1P_NUMERATOR = (0.999999997006, 1.05361572789, 0.23098594933, 0.00320732984196)
LOG1P_DENOMINATOR = (1.0, 1.55361542833, 0.674465637571, 0.0725296378416)


P = ParamSpec("P")
R = TypeVar("R")


def one_program(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function into a single program.

    Outside of `jit`, it then runs as one program instead of a program per operation. Inside a caller's program it is
    inlined.
    """
    return jax.jit(function, inline=True)


@register(static=("is_normal",))
@dataclass(frozen=True)
class Scale:
    """Standard deviations with derivatives in log sigma.

    Attributes:
        value: sigma, of any shape; its tangent is d log sigma.
        is_normal: whether no sigma is subnormal or 0, so that log(value) is log sigma.
    """

    value: Array
    is_normal: bool = field(default=False, repr=False)

    def broadcast_to(self, shape: tuple[int, ...]) -> Scale:
        """Broadcast the scale to a larger shape."""
        return Scale(jnp.broadcast_to(self.value, shape), self.is_normal)


@one_program
def softplus(rho: Array) -> Array:
    """Compute log(1 + exp(rho)) of a floating array.

    It has no derivative rule; its callers define the derivative. In float32, a ratio of polynomials replaces log1p. It
    takes half the time of XLA's log1p, and since it ends in a division, XLA on a CPU keeps the result instead of
    computing it again at each use.

    >>> softplus(jnp.float32(0.0))  # log 2
    Array(0.6931..., dtype=float32)
    """
    power = jnp.exp(-jnp.abs(rho))
    # A subnormal sigma has few digits, and its inverse square overflows. It counts as 0 on every device, because a CPU
    # treats it as 0.
    power = jnp.where(power < jnp.finfo(rho.dtype).tiny, 0.0, power)
    if rho.dtype != jnp.float32:
        return jnp.maximum(rho, 0.0) + jnp.log1p(power)
    numerator, denominator = polynomial(LOG1P_NUMERATOR, power), polynomial(LOG1P_DENOMINATOR, power)
    return (jnp.maximum(rho, 0.0) * denominator + power * numerator) / denominator


@one_program
def inverse_softplus(sigma: Array) -> Array:
    """Compute log(exp(sigma) - 1), which neither overflows nor loses small values.

    >>> round(float(inverse_softplus(softplus(jnp.float32(-3.0)))), 5)
    -3.0
    """
    return sigma + jnp.log(-jnp.expm1(-sigma))


@one_program
def logistic(rho: Array) -> tuple[Array, Array]:
    """Derivative of softplus as a fraction.

    The derivative is 1 / (1 + exp(-rho)). The numerator and the denominator keep all digits of a small derivative.
    """
    # Not -abs(rho), whose derivative at 0 is 0: this fraction is differentiated again for second derivatives.
    power = jnp.exp(jnp.where(rho >= 0.0, -rho, rho))
    return jnp.where(rho >= 0.0, 1.0, power), 1.0 + power


@jax.custom_jvp
def scale_from_rho(rho: Array) -> Scale:
    """Compute the scale sigma = softplus(rho).

    Its tangent is d log sigma = rho_dot / (1 + exp(-rho)) / sigma, which is rho_dot in the limit of a vanishing sigma.

    Args:
        rho: an array of any shape, in at least float32.

    >>> jax.jvp(scale_from_rho, (jnp.float32(-200.0),), (jnp.float32(1.0),))[1]
    Scale(value=Array(1., dtype=float32))
    """
    return Scale(softplus(rho))


@scale_from_rho.defjvp
@one_program
def _scale_from_rho_jvp(primals: Any, tangents: Any) -> Any:
    scale = scale_from_rho(primals[0])
    sigma = sigma_of_scale(scale)
    numerator, denominator = logistic(primals[0])
    # If sigma is below an ulp of 1, the slope 1 - sigma / 2 rounds to 1, and a product with the tiny numerator could
    # underflow.
    is_large = sigma > jnp.finfo(sigma.dtype).eps / 16
    numerator, denominator = jnp.where(is_large, numerator, 1.0), jnp.where(is_large, denominator * sigma, 1.0)
    # Dividing before multiplying makes the backward pass multiply first and end in the division. XLA on a CPU then
    # keeps the gradient instead of computing it again for each moment of the optimizer.
    return scale, Scale(tangents[0] / denominator * numerator)


@jax.custom_jvp
def sigma_of_scale(scale: Scale) -> Array:
    """Convert a scale to an array of standard deviations.

    The tangents are d sigma = sigma d log sigma.
    """
    return scale.value


@sigma_of_scale.defjvp
def _sigma_of_scale_jvp(primals: Any, tangents: Any) -> Any:
    sigma = sigma_of_scale(primals[0])
    return sigma, sigma * tangents[0].value


@jax.custom_jvp
def rho_of_scale(scale: Scale) -> Array:
    """Compute the rho with softplus(rho) = sigma.

    The tangents are d rho = sigma / (1 - exp(-sigma)) d log sigma.

    >>> round(float(rho_of_scale(Scale(softplus(jnp.float32(-3.0))))), 5)
    -3.0
    """
    return inverse_softplus(scale.value)


@rho_of_scale.defjvp
@one_program
def _rho_of_scale_jvp(primals: Any, tangents: Any) -> Any:
    sigma = sigma_of_scale(primals[0])
    return rho_of_scale(primals[0]), sigma / -jnp.expm1(-sigma) * tangents[0].value


@jax.custom_jvp
def log_of_scale(scale: Scale) -> Array:
    """Compute log sigma of a scale that `is_normal`.

    The tangents are d log sigma themselves.
    """
    return jnp.log(scale.value)


@log_of_scale.defjvp
def _log_of_scale_jvp(primals: Any, tangents: Any) -> Any:
    return log_of_scale(primals[0]), tangents[0].value


@jax.custom_jvp
@one_program
def draw_at_scale(mu: Array, scale: Scale, noise: Array) -> Array:
    """Draw w = mu + sigma * noise.

    All arguments have the same shape.
    """
    w = mu + scale.value * noise
    # The selection changes no value. XLA on a CPU hands arithmetic before a matrix product to a slower library, unless
    # it ends in a selection: without it, a prediction of 784-400-400-10 takes 1.03 times as long.
    return jnp.where(jnp.isnan(w), jnp.nan, w)


@draw_at_scale.defjvp
@one_program
def _draw_at_scale_jvp(primals: Any, tangents: Any) -> Any:
    mu, scale, noise = primals
    mu_dot, scale_dot, noise_dot = tangents
    sigma, log_sigma_dot = sigma_of_scale(scale), scale_dot.value
    return draw_at_scale(mu, scale, noise), mu_dot + sigma * noise * log_sigma_dot + sigma * noise_dot


@jax.custom_jvp
@one_program
def kl_at_scale(mu: Array, scale: Scale, rho: Array | None, prior_mu: Array, prior_sigma: Array) -> Array:
    """KL divergence between Gaussians, for a given scale.

    KL(q || p) = log(sigma_p / sigma_q) + (sigma_q^2 + (mu_q - mu_p)^2) / (2 sigma_p^2) - 1/2 in nats, element by
    element, evaluated as in `gaussian.gaussian_kl`:
    d^2/2 + (d - log(1 + d)) + z^2/2,  d = sigma_q / sigma_p - 1,  z = (mu_q - mu_p) / sigma_p

    Args:
        mu, scale: mean and standard deviation of q, of the same shape.
        rho: the array that `scale` was computed from, which stands for log sigma if sigma has underflowed, and gets no
            gradient; or None if no ratio of sigma_q to sigma_p is subnormal or 0.
        prior_mu, prior_sigma: mean and standard deviation of p, of any shapes that broadcast.
    """
    sigma, inverse = scale.value, 1.0 / prior_sigma
    d, z, ratio = (sigma - prior_sigma) * inverse, (mu - prior_mu) * inverse, sigma * inverse
    # log1p(d) is log(u) d / (u - 1) for the floating-point u nearest to 1 + d (Kahan), so a single logarithm serves
    # ratios near 1 and near 0.
    is_near = ratio == 1.0
    log_ratio = jnp.where(is_near, d, jnp.log(ratio) * (d / jnp.where(is_near, 1.0, ratio - 1.0)))
    if rho is not None:
        # If the ratio has underflowed, or is subnormal and has lost digits, log sigma equals rho.
        is_normal = ratio >= jnp.finfo(ratio.dtype).tiny
        log_ratio = jnp.where(is_normal, log_ratio, rho - jnp.log(prior_sigma))
    return 0.5 * (jnp.square(d) + jnp.square(z)) + jnp.maximum(d - log_ratio, 0.0)


@kl_at_scale.defjvp
@one_program
def _kl_at_scale_jvp(primals: Any, tangents: Any) -> Any:
    mu, scale, _, prior_mu, prior_sigma = primals
    mu_dot, scale_dot, _, prior_mu_dot, prior_sigma_dot = tangents
    log_sigma_dot, inverse = scale_dot.value, 1.0 / prior_sigma
    d, z = (sigma_of_scale(scale) - prior_sigma) * inverse, (mu - prior_mu) * inverse
    excess = d * (2.0 + d)  # ratio^2 - 1, without cancellation
    log_prior_sigma_dot = prior_sigma_dot * inverse
    tangent = excess * (log_sigma_dot - log_prior_sigma_dot) + z * (
        (mu_dot - prior_mu_dot) * inverse - z * log_prior_sigma_dot
    )
    return kl_at_scale(*primals), tangent
