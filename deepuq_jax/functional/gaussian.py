"""Gaussians with a standard deviation sigma = softplus(rho): the maths, on arrays.

Everything is computed in at least float32, is finite for every finite rho, and has the right gradient there. Noise is
an argument: nothing here knows of keys.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from deepuq_jax._checks import expected
from deepuq_jax.functional.scale import Scale, kl_at_scale, logistic, one_program, scale_from_rho, softplus

HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)

# Below this rho, log softplus(rho) = rho - exp(rho)/2 to double precision: the next term is 5/24 exp(2 rho) < 1e-16.
_LOG_SIGMA_TAIL = -18.0


def at_least_float32(value: ArrayLike) -> Array:
    """`value` as a floating array of 32 bits or more."""
    value = jnp.asarray(value)
    return value.astype(jnp.promote_types(value.dtype, jnp.float32))


@jax.custom_jvp
def _softplus(rho: Array) -> Array:
    return softplus(rho)


@_softplus.defjvp
@one_program
def _softplus_jvp(primals: Any, tangents: Any) -> Any:
    numerator, denominator = logistic(primals[0])
    # As in `scale_from_rho`: the backward pass ends in the division.
    return _softplus(primals[0]), tangents[0] / denominator * numerator


def sigma_from_rho(rho: ArrayLike) -> Array:
    """Standard deviation of a posterior.

    sigma = softplus(rho) = log(1 + exp(rho)), evaluated as max(rho, 0) + log1p(exp(-\\|rho\\|)), which neither
    overflows nor loses the small values (Blundell et al. 2015, arXiv 1505.05424, section 3.2).

    Args:
        rho: any shape.
    Returns:
        sigma, a standard deviation, the shape of `rho`, in at least float32.

    >>> float(sigma_from_rho(0.0))  # log 2
    0.6931...
    """
    return _softplus(at_least_float32(rho))


@one_program
def rho_from_sigma(sigma: ArrayLike) -> Array:
    """The rho whose softplus is `sigma`.

    rho = log(exp(sigma) - 1) = sigma + log(-expm1(-sigma)): no overflow, and small sigma are kept.

    Args:
        sigma: standard deviations above zero, any shape.
    Returns:
        rho, the shape of `sigma`, in at least float32.

    >>> round(float(sigma_from_rho(rho_from_sigma(0.05))), 5)
    0.05
    """
    sigma = at_least_float32(sigma)
    return sigma + jnp.log(-jnp.expm1(-sigma))


@one_program
def log_sigma(rho: ArrayLike) -> Array:
    """Logarithm of the standard deviation, right where sigma itself underflows.

    log sigma = log softplus(rho), and rho - exp(rho)/2 in the lower tail.

    Args:
        rho: any shape.
    Returns:
        log sigma in nats, the shape of `rho`, in at least float32.

    >>> float(log_sigma(-1000.0))  # sigma is 0 in every float type
    -1000.0
    """
    rho = at_least_float32(rho)
    in_tail = rho < _LOG_SIGMA_TAIL
    # Each branch gets an argument that is harmless to it: the gradient of the branch not taken must be finite too.
    tail = jnp.where(in_tail, rho, _LOG_SIGMA_TAIL)
    body = jnp.where(in_tail, 0.0, rho)
    return jnp.where(in_tail, tail - 0.5 * jnp.exp(tail), jnp.log(sigma_from_rho(body)))


@one_program
def total(values: Array) -> Array:
    """Sum of every entry, as a product with ones: XLA on a CPU runs a reduction fused with what it sums one by one.

    >>> float(total(jnp.ones((3, 2))))
    6.0
    """
    if values.ndim < 2:
        return jnp.sum(values)
    rows = values.reshape(values.shape[0], -1)
    return jnp.sum(jnp.dot(rows, jnp.ones(rows.shape[1], rows.dtype), precision="highest"))


def reparameterize(mu: ArrayLike, sigma: ArrayLike, noise: ArrayLike) -> Array:
    """A draw as a differentiable function of its parameters.

    w = mu + sigma * noise, with noise ~ N(0, 1) (Kingma & Welling 2014, arXiv 1312.6114).

    Args:
        mu, sigma: means and standard deviations, any one shape.
        noise: that shape, or with leading axes for several draws.
    Returns:
        w, the shape of `noise`.
    Raises:
        ValueError: noise of another shape.

    >>> float(reparameterize(1.0, 0.5, 2.0))
    2.0
    """
    check_noise_shape(mu, noise)
    shape = jnp.shape(noise)
    return jnp.broadcast_to(mu, shape) + jnp.broadcast_to(sigma, shape) * noise


def check_noise_shape(mu: ArrayLike, noise: ArrayLike) -> None:
    """Refuse noise that is not of the shape of `mu`, with leading axes for several draws."""
    shape = jnp.shape(noise)
    if shape[max(len(shape) - jnp.ndim(mu), 0) :] != jnp.shape(mu):
        raise ValueError(expected("noise", f"of shape [..., {', '.join(map(str, jnp.shape(mu)))}]", jnp.asarray(noise)))


@one_program
def gaussian_log_prob(x: ArrayLike, mu: ArrayLike, sigma: ArrayLike, log_sigma: ArrayLike | None = None) -> Array:
    """Logarithm of a Gaussian density, element by element.

    log N(x; mu, sigma^2) = -((x - mu) / sigma)^2 / 2 - log sigma - log(2 pi) / 2

    Args:
        x, mu: any shapes that broadcast.
        sigma: standard deviation.
        log_sigma: its logarithm, where the caller knows it better than log(sigma) does.
    Returns:
        nats, the broadcast shape, in at least float32.

    >>> float(gaussian_log_prob(0.0, 0.0, 1.0))
    -0.9189...
    """
    delta = at_least_float32(jnp.subtract(x, mu))
    # Where sigma has underflowed to 0 a draw equals its mean: 0/0 stands for an exact 0, in value and gradient.
    z = delta / jnp.where(delta == 0.0, 1.0, sigma)
    if log_sigma is None:
        log_sigma = jnp.log(at_least_float32(sigma))
    return -0.5 * jnp.square(z) - log_sigma - HALF_LOG_2PI


def gaussian_kl(mu: ArrayLike, rho: ArrayLike, prior_mu: ArrayLike, prior_sigma: ArrayLike) -> Array:
    """KL divergence between Gaussians, element by element, without cancellation.

    KL(q || p) = log(sigma_p / sigma_q) + (sigma_q^2 + (mu_q - mu_p)^2) / (2 sigma_p^2) - 1/2, sigma_q = softplus(rho).

    With d = sigma_q / sigma_p - 1 the part of the scales is d^2/2 + (d - log1p(d)): both terms are small where q is
    near p, so nothing cancels there, where the textbook form has no digit right. Its gradient is written by hand,
    (s^2 - 1) d log s with s = 1 + d, and holds where sigma_q underflows.

    Args:
        mu, rho: parameters of q, any one shape.
        prior_mu, prior_sigma: mean and standard deviation of p; anything that broadcasts.
    Returns:
        nats, never negative, the broadcast shape, in at least float32.
    Source: Blundell et al. 2015, arXiv 1505.05424.

    >>> float(gaussian_kl(0.1, rho_from_sigma(0.2), 0.1, 0.2)) < 1e-12
    True
    """
    mu, rho = at_least_float32(mu), at_least_float32(rho)
    return gaussian_kl_at_scale(mu, scale_from_rho(rho), rho, prior_mu, prior_sigma)


def gaussian_kl_at_scale(mu: Array, scale: Scale, rho: Array, prior_mu: ArrayLike, prior_sigma: ArrayLike) -> Array:
    """`gaussian_kl` with the `scale_from_rho(rho)` of a step that has computed it already."""

    def as_wide(value: ArrayLike) -> Array:
        return jnp.asarray(value, jnp.promote_types(rho.dtype, jnp.result_type(value)))

    return kl_at_scale(mu, scale, rho, as_wide(prior_mu), as_wide(prior_sigma))
