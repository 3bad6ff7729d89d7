"""Functions of Gaussians with standard deviation sigma = softplus(rho).

Standard deviations, log densities and KL divergences are returned in at least float32. sigma and log sigma are finite,
with the right gradient, for every finite rho. Functions that need noise take it as an argument.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from deepuq_jax._arguments import broadcasts_to, real_arrays
from deepuq_jax._checks import expected
from deepuq_jax.functional.scale import (
    Scale,
    inverse_softplus,
    kl_at_scale,
    logistic,
    one_program,
    scale_from_rho,
    softplus,
)

HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)

# Below this rho, log softplus(rho) = rho - exp(rho)/2 to double precision: the next term is 5/24 exp(2 rho) < 1e-16.
_LOG_SIGMA_TAIL = -18.0


def at_least_float32(value: ArrayLike) -> Array:
    """Convert `value` to an array of at least float32."""
    value = jnp.asarray(value)
    return value.astype(jnp.promote_types(value.dtype, jnp.float32))


@jax.custom_jvp
def _softplus(rho: Array) -> Array:
    return softplus(rho)


@_softplus.defjvp
@one_program
def _softplus_jvp(primals: Any, tangents: Any) -> Any:
    numerator, denominator = logistic(primals[0])
    # The order of the operations makes the backward pass end in the division, as in `scale_from_rho`.
    return _softplus(primals[0]), tangents[0] / denominator * numerator


@real_arrays("rho")
def sigma_from_rho(rho: ArrayLike) -> Array:
    """Standard deviation of a posterior.

    sigma = softplus(rho) = log(1 + exp(rho)), evaluated as max(rho, 0) + log1p(exp(-\\|rho\\|)), which neither
    overflows nor loses small values.

    Args:
        rho: an array of any shape.
    Returns:
        sigma, a standard deviation, of the shape of `rho`, in at least float32.
    Source: Blundell et al. 2015, arXiv 1505.05424, section 3.2.

    >>> float(sigma_from_rho(0.0))  # log 2
    0.6931...
    """
    return _softplus(at_least_float32(rho))


@real_arrays("sigma")
@one_program
def rho_from_sigma(sigma: ArrayLike) -> Array:
    """The rho whose softplus is `sigma`.

    rho = log(exp(sigma) - 1), evaluated as sigma + log(-expm1(-sigma)), which neither overflows nor loses small values.

    Args:
        sigma: positive standard deviations, any shape. Zero gives -inf, a negative number NaN.
    Returns:
        rho, of the shape of `sigma`, in at least float32.

    >>> round(float(sigma_from_rho(rho_from_sigma(0.05))), 5)
    0.05
    """
    return inverse_softplus(at_least_float32(sigma))


@real_arrays("rho")
@one_program
def log_sigma(rho: ArrayLike) -> Array:
    """Logarithm of the standard deviation, accurate even if sigma underflows.

    log sigma = log softplus(rho), evaluated as rho - exp(rho)/2 in the lower tail.

    Args:
        rho: an array of any shape.
    Returns:
        log sigma in nats, of the shape of `rho`, in at least float32.

    >>> float(log_sigma(-1000.0))  # sigma is 0 in every float type
    -1000.0
    """
    rho = at_least_float32(rho)
    in_tail = rho < _LOG_SIGMA_TAIL
    # Each branch gets a harmless argument, since the gradient of the branch that is not taken must be finite too.
    tail = jnp.where(in_tail, rho, _LOG_SIGMA_TAIL)
    body = jnp.where(in_tail, 0.0, rho)
    return jnp.where(in_tail, tail - 0.5 * jnp.exp(tail), jnp.log(sigma_from_rho(body)))


@one_program
def total(values: Array) -> Array:
    """Sum of every entry, computed as a product with ones.

    XLA on a CPU runs a reduction one entry at a time if it is fused with the computation of its terms.

    >>> float(total(jnp.ones((3, 2))))
    6.0
    """
    if values.ndim < 2 or values.size == 0:
        return jnp.sum(values)
    rows = values.reshape(values.shape[0], -1)
    return jnp.sum(jnp.dot(rows, jnp.ones(rows.shape[1], rows.dtype), precision="highest"))


@real_arrays("mu", "sigma", "noise")
def reparameterize(mu: ArrayLike, sigma: ArrayLike, noise: ArrayLike) -> Array:
    """Draw weights as a differentiable function of their parameters.

    w = mu + sigma * noise, with noise ~ N(0, 1)

    Args:
        mu, sigma: means and standard deviations, of the same shape.
        noise: standard normal numbers of that shape, with leading axes for several draws.
    Returns:
        w, of the shape of `noise`.
    Raises:
        ValueError: the last axes of `noise` differ from the shape of `mu`.
    Source: Kingma & Welling 2014, arXiv 1312.6114.

    >>> float(reparameterize(1.0, 0.5, 2.0))
    2.0
    """
    check_noise_shape(mu, noise)
    shape = jnp.shape(noise)
    if not broadcasts_to(jnp.shape(sigma), shape):
        raise ValueError(expected("sigma", f"to broadcast to the noise, {list(shape)}", jnp.asarray(sigma)))
    return jnp.broadcast_to(mu, shape) + jnp.broadcast_to(sigma, shape) * noise


def check_noise_shape(mu: ArrayLike, noise: ArrayLike) -> None:
    """Require noise shaped like `mu`, apart from leading axes."""
    shape = jnp.shape(noise)
    if shape[max(len(shape) - jnp.ndim(mu), 0) :] != jnp.shape(mu):
        message = f"of the shape of mu, [..., {', '.join(map(str, jnp.shape(mu)))}]"
        raise ValueError(expected("noise", message, jnp.asarray(noise)))


@real_arrays("x", "mu", "sigma", "log_sigma")
@one_program
def gaussian_log_prob(x: ArrayLike, mu: ArrayLike, sigma: ArrayLike, log_sigma: ArrayLike | None = None) -> Array:
    """Log density of a Gaussian, element by element.

    log N(x; mu, sigma^2) = -((x - mu) / sigma)^2 / 2 - log sigma - log(2 pi) / 2

    Args:
        x, mu: arrays of any shapes that broadcast.
        sigma: standard deviation. If it is zero, negative or subnormal, the result may be an infinity or NaN.
        log_sigma: logarithm of `sigma`, for a caller who knows it more accurately than log(sigma).
    Returns:
        log density in nats, of the broadcast shape, in at least float32.

    >>> float(gaussian_log_prob(0.0, 0.0, 1.0))
    -0.9189...
    """
    delta = at_least_float32(jnp.subtract(x, mu))
    # If sigma has underflowed to 0, a draw equals its mean, and 0/0 has to give an exact 0 in value and gradient.
    z = delta / jnp.where(delta == 0.0, 1.0, sigma)
    if log_sigma is None:
        log_sigma = jnp.log(at_least_float32(sigma))
    return -0.5 * jnp.square(z) - log_sigma - HALF_LOG_2PI


@real_arrays("mu", "rho", "prior_mu", "prior_sigma")
def gaussian_kl(mu: ArrayLike, rho: ArrayLike, prior_mu: ArrayLike, prior_sigma: ArrayLike) -> Array:
    """KL divergence between Gaussians, element by element.

    KL(q || p) = log(sigma_p / sigma_q) + (sigma_q^2 + (mu_q - mu_p)^2) / (2 sigma_p^2) - 1/2, sigma_q = softplus(rho)

    In floating point, this form has no correct digit near q = p. With d = sigma_q / sigma_p - 1, the terms of the
    scales are therefore evaluated as d^2/2 + (d - log1p(d)), whose two summands are small near q = p. The derivative
    with respect to log sigma_q, (sigma_q / sigma_p)^2 - 1, is written by hand and is right even if sigma_q underflows.

    Args:
        mu, rho: parameters of q, of the same shape.
        prior_mu, prior_sigma: mean and standard deviation of p, of any shapes that broadcast. The result may be an
            infinity or NaN if prior_sigma is zero, negative or subnormal, or if the square of sigma_q / sigma_p or
            of (mu_q - mu_p) / sigma_p overflows.
    Returns:
        KL in nats, never negative, of the broadcast shape, in at least float32.
    Source: Blundell et al. 2015, arXiv 1505.05424.

    >>> float(gaussian_kl(0.1, rho_from_sigma(0.2), 0.1, 0.2)) < 1e-12
    True
    """
    mu, rho = at_least_float32(mu), at_least_float32(rho)
    return gaussian_kl_at_scale(mu, scale_from_rho(rho), rho, prior_mu, prior_sigma)


def gaussian_kl_at_scale(mu: Array, scale: Scale, rho: Array, prior_mu: ArrayLike, prior_sigma: ArrayLike) -> Array:
    """`gaussian_kl` for a caller who already has the scale of `rho`."""

    def as_wide(value: ArrayLike) -> Array:
        return jnp.asarray(value, jnp.promote_types(scale.value.dtype, jnp.result_type(value)))

    needed = None if scale.is_normal else jnp.asarray(rho)
    return kl_at_scale(mu, scale, needed, as_wide(prior_mu), as_wide(prior_sigma))
