"""Diagonal Gaussians as pure functions of (mu, rho).

All functions are elementwise, accurate over the whole range of rho, and compute in at least float32, whatever the dtype
of the parameters.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# By default, torch.nn.functional.softplus returns its input above 20. There the error is e^-20, or 1e-10 of the result,
# which is far more than rounding in float64. Above 40, the error e^-40 is below half an ulp. exp(40) overflows neither
# in float32 nor in float64.
SOFTPLUS_THRESHOLD = 40.0
# Below this, log(softplus(rho)) equals rho to rounding, in float64 too. Above it, 1 / softplus(rho)^2, which the second
# derivative needs, does not overflow in float32.
RHO_TAIL = -40.0
SIGMA_TAIL = math.exp(RHO_TAIL)
_LONG = (torch.float32, torch.float64)
_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


def at_least_float32(value: Tensor) -> Tensor:
    """Convert a tensor to float32, if its dtype is shorter."""
    if value.dtype in _LONG:
        return value
    return value.to(torch.promote_types(value.dtype, torch.float32))


def _log(positive: float | Tensor) -> float | Tensor:
    return at_least_float32(positive).log() if isinstance(positive, Tensor) else math.log(positive)


def sigma_from_rho(rho: Tensor) -> Tensor:
    """Standard deviation: ``sigma = softplus(rho) = log(1 + exp(rho))``.

    It is finite for every finite rho, and accurate to about an ulp down to the smallest normal number. Its gradient is
    ``sigmoid(rho)`` everywhere.

    Args:
        rho: tensor of any shape.

    Returns:
        sigma, of rho's shape, in at least float32.

    Source:
        Blundell et al. 2015, section 3.2, https://arxiv.org/abs/1505.05424

    Example:
        >>> sigma_from_rho(torch.tensor([-1000.0, 0.0, 1000.0]))
        tensor([0.0000e+00, 6.9315e-01, 1.0000e+03])
    """
    return F.softplus(at_least_float32(rho), threshold=SOFTPLUS_THRESHOLD)


def rho_from_sigma(sigma: Tensor) -> Tensor:
    """Inverse of ``sigma_from_rho``.

    ``rho = log(exp(sigma) - 1) = sigma + log(1 - exp(-sigma))``

    Args:
        sigma: positive standard deviations, any shape. Zero gives -inf, a negative number gives NaN.

    Returns:
        rho, of sigma's shape, in at least float32.

    Example:
        >>> sigma_from_rho(rho_from_sigma(torch.tensor([0.05, 1.0, 100.0])))
        tensor([5.0000e-02, 1.0000e+00, 1.0000e+02])
    """
    sigma = at_least_float32(sigma)
    return sigma + torch.log(-torch.expm1(-sigma))


def log_sigma(rho: Tensor) -> Tensor:
    """Logarithm of the standard deviation: ``log softplus(rho)``.

    It is accurate even if sigma underflows to zero.

    Args:
        rho: tensor of any shape.

    Returns:
        log sigma, of rho's shape, in at least float32.

    Example:
        >>> log_sigma(torch.tensor([-1000.0, 0.0]))
        tensor([-1.0000e+03, -3.6651e-01])
    """
    rho = at_least_float32(rho)
    # The clamp keeps the branch that is not taken finite, so that its gradient times zero is zero and not NaN.
    body = torch.log(sigma_from_rho(at_least(rho, RHO_TAIL)))
    return torch.where(rho < RHO_TAIL, rho, body)


def at_least(values: Tensor, bound: float) -> Tensor:
    """Clamp from below; the gradient at the bound is 1.

    That of ``clamp_min`` is 1 there in torch 2.13, and 0 in 2.15.
    """
    return torch.where(values < bound, bound, values)


def gaussian_log_prob(w: Tensor, mu: Tensor, rho: Tensor) -> Tensor:
    """Log density of N(mu, softplus(rho)^2), elementwise, in nats.

    ``-1/2 ((w - mu) / sigma)^2 - log sigma - 1/2 log(2 pi)``

    Args:
        w: points to evaluate at, of a shape that broadcasts with mu.
        mu: means.
        rho: of mu's shape; ``sigma = softplus(rho)``.

    Returns:
        nats per element, in at least float32.

    Example:
        >>> gaussian_log_prob(torch.zeros(1), torch.zeros(1), torch.tensor([-3.0]))
        tensor([2.1055])
    """
    sigma = sigma_from_rho(rho)
    # If sigma has underflowed, 0 / 0 would be NaN at w = mu. With the floor the result is 0, as it should be.
    z = (at_least_float32(w) - mu) / sigma.clamp_min(torch.finfo(sigma.dtype).tiny)
    return -0.5 * z.square() - log_sigma(rho) - _HALF_LOG_2PI


def normal_log_prob(w: Tensor, mu: float | Tensor, sigma: float | Tensor) -> Tensor:
    """Log density of N(mu, sigma^2), elementwise, in nats.

    ``-1/2 ((w - mu) / sigma)^2 - log sigma - 1/2 log(2 pi)``

    Args:
        w: points to evaluate at, any shape.
        mu: mean, a number or a tensor that broadcasts.
        sigma: positive standard deviation (not a variance), a number or a tensor that broadcasts.

    Returns:
        nats per element, in at least float32.

    Example:
        >>> normal_log_prob(torch.zeros(1), 0.0, 0.1)
        tensor([1.3836])
    """
    z = (at_least_float32(w) - mu) / sigma
    return -0.5 * z.square() - (_log(sigma) + _HALF_LOG_2PI)


def reparameterize(mu: Tensor, rho: Tensor, noise: Tensor) -> Tensor:
    """Draw with given noise.

    ``w = mu + softplus(rho) * noise``

    Args:
        mu: means, any shape.
        rho: of the same shape.
        noise: standard normal numbers of the same shape.

    Returns:
        w, of mu's shape and dtype; the sum is taken in at least float32.

    Source:
        Kingma and Welling 2014, https://arxiv.org/abs/1312.6114

    Example:
        >>> reparameterize(torch.tensor([1.0]), torch.tensor([0.0]), torch.tensor([2.0]))
        tensor([2.3863])
    """
    sigma = sigma_from_rho(rho)
    if mu.dtype == sigma.dtype == noise.dtype:
        return torch.addcmul(mu, sigma, noise)
    return torch.addcmul(mu.to(sigma.dtype), sigma, noise.to(sigma.dtype)).to(mu.dtype)
