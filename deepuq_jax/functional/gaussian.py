"""Gaussians with a standard deviation sigma = softplus(rho): the maths, on arrays.

Everything is computed in at least float32, is finite for every finite rho, and has the right gradient there. Noise is
an argument: nothing here knows of keys.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from deepuq_jax._checks import expected

HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)

# Below this rho, log softplus(rho) = rho - exp(rho)/2 to double precision: the next term is 5/24 exp(2 rho) < 1e-16.
_LOG_SIGMA_TAIL = -18.0


def at_least_float32(value: ArrayLike) -> Array:
    """`value` as a floating array of 32 bits or more."""
    value = jnp.asarray(value)
    return value.astype(jnp.promote_types(value.dtype, jnp.float32))


@jax.custom_jvp
def _softplus(rho: Array) -> Array:
    return jnp.maximum(rho, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(rho)))


@_softplus.defjvp
def _softplus_jvp(primals, tangents):
    numerator, denominator = _logistic(primals[0])
    # Divided before it is multiplied: so the backward pass multiplies first and ends in the division, after which XLA
    # on a CPU keeps the gradient instead of computing it anew in each of the optimizer's moments.
    return _softplus(primals[0]), tangents[0] / denominator * numerator


def _logistic(rho: Array) -> tuple[Array, Array]:
    """The derivative of softplus, 1 / (1 + exp(-rho)), as a fraction: it keeps its digits where it is small."""
    power = jnp.exp(-jnp.abs(rho))
    return jnp.where(rho >= 0.0, 1.0, power), 1.0 + power


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


def total(values: Array) -> Array:
    """Sum of every entry, as a product with ones: XLA on a CPU runs a reduction fused with what it sums one by one.

    >>> float(total(jnp.ones((3, 2))))
    6.0
    """
    if values.ndim < 2:
        return jnp.sum(values)
    rows = values.reshape(values.shape[0], -1)
    return jnp.sum(jnp.dot(jnp.ones(rows.shape[0], rows.dtype), rows, precision="highest"))


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
    shape = jnp.shape(noise)
    if shape[max(len(shape) - jnp.ndim(mu), 0) :] != jnp.shape(mu):
        raise ValueError(expected("noise", f"of shape [..., {', '.join(map(str, jnp.shape(mu)))}]", jnp.asarray(noise)))
    return jnp.broadcast_to(mu, shape) + jnp.broadcast_to(sigma, shape) * noise


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


@jax.custom_jvp
def _scale_kl(rho: Array, prior_sigma: Array) -> Array:
    """The part of the KL that is of the scales alone, s^2/2 - 1/2 - log s with s = softplus(rho) / prior_sigma."""
    sigma = sigma_from_rho(rho)
    ratio = sigma / prior_sigma
    d = (sigma - prior_sigma) / prior_sigma
    # log1p(d) as log(u) d / (u - 1) for the u nearest to 1 + d (Kahan): one logarithm serves s near 1 and s near 0.
    is_near = ratio == 1.0
    log_ratio = jnp.where(is_near, d, jnp.log(ratio) * (d / jnp.where(is_near, 1.0, ratio - 1.0)))
    # Where sigma has underflowed its logarithm is rho itself.
    log_ratio = jnp.where(ratio > 0.0, log_ratio, rho - jnp.log(prior_sigma))
    return 0.5 * jnp.square(d) + jnp.maximum(d - log_ratio, 0.0)


@_scale_kl.defjvp
def _scale_kl_jvp(primals, tangents):
    rho, prior_sigma = primals
    sigma = sigma_from_rho(rho)
    d = (sigma - prior_sigma) / prior_sigma
    excess = d * (2.0 + d)  # s^2 - 1, without its cancellation
    numerator, denominator = _logistic(rho)
    # d log sigma / d rho, which is 1 where sigma has underflowed.
    slope = jnp.where(sigma > 0.0, numerator / (denominator * jnp.where(sigma > 0.0, sigma, 1.0)), 1.0)
    tangent = excess * (slope * tangents[0] - tangents[1] / prior_sigma)
    return _scale_kl(rho, prior_sigma), tangent


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
    prior_sigma = jnp.asarray(prior_sigma, dtype=jnp.promote_types(rho.dtype, jnp.result_type(prior_sigma)))
    return _scale_kl(rho, prior_sigma) + 0.5 * jnp.square((mu - prior_mu) / prior_sigma)
