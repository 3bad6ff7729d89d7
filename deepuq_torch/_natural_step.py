"""The natural-gradient step of diagonal Gaussian posteriors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import NamedTuple

import torch
from torch import Tensor

from ._gaussian import RHO_TAIL, SIGMA_TAIL, at_least_float32, sigma_from_rho

# On a CPU, larger posteriors are split, so that the temporary tensors of a step stay in its cache. A step then takes a
# third of the time.
_IN_CACHE = 2**15
# exp of this is finite in float32. In the product that it bounds, exp(-rho) is then smaller than its inverse.
_LARGEST_EXPONENT = 80.0


class Rates(NamedTuple):
    """Rates and limits of a step.

    Attributes:
        mean: learning rate of the means, times the factor that converts the loss to nats of the whole data set.
        precision: share of the old precision that the step replaces, times the same factor.
        beta1: decay of the average of the gradients of the means.
        mean_limit: longest step of a mean, in standard deviations.
        precision_limit: largest relative change of a precision, to first order.
    """

    mean: float | Tensor
    precision: float | Tensor
    beta1: float
    mean_limit: float
    precision_limit: float


class Part(NamedTuple):
    """Rows of a posterior, views that a step changes in place.

    Attributes:
        mu, rho: parameters of the posterior.
        by_mu, by_rho: gradients of the loss; a parameter whose gradient is None keeps its value.
        momentum: moving average of the gradients of mu.
    """

    mu: Tensor
    rho: Tensor
    by_mu: Tensor | None
    by_rho: Tensor | None
    momentum: Tensor


def parts(whole: Part) -> Iterator[Part]:
    """Split a large posterior by rows, on a CPU."""
    size = whole.mu.numel()
    if size <= _IN_CACHE or whole.mu.device.type != "cpu":
        yield whole
    else:
        rows = max(1, _IN_CACHE * whole.mu.shape[0] // size)
        split = [repeat(None) if one is None else one.split(rows) for one in whole]
        for row in zip(*split, strict=False):  # repeat(None) does not end
            yield Part(*row)  # type: ignore[arg-type]


def take_step(together: Sequence[Part], rates: Rates) -> None:
    """Take a step in place; the parts are computed as one."""
    for part in together:
        if part.by_mu is not None:
            part.momentum.lerp_(part.by_mu, 1.0 - rates.beta1)
    rho = _joined([part.rho for part in together])
    by_rho = _joined([torch.zeros_like(part.rho) if part.by_rho is None else part.by_rho for part in together])
    in_rho, sigma = precision_step(rho, by_rho, rates.precision, rates.precision_limit)
    in_mu = mean_step(_joined([part.momentum for part in together]), sigma, rates.mean, rates.mean_limit)
    sizes = [part.mu.numel() for part in together]
    for part, of_mu, of_rho in zip(together, in_mu.split(sizes), in_rho.split(sizes), strict=True):
        if part.by_mu is not None:
            part.mu.add_(of_mu.view(part.mu.shape))
        if part.by_rho is not None:
            part.rho.add_(of_rho.view(part.rho.shape))


def precision_step(rho: Tensor, gradient: Tensor, rate: float | Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """Take a natural-gradient step in the precision S = 1 / sigma^2.

    ``S <- S (1 + a + a^2 / 2),  a = rate * sigma * dL/dsigma, clipped to [-limit, limit],  sigma = softplus(rho)``

    The factor is at least 1/2, so the precision stays positive whatever the gradient.

    Returns:
        the change of rho, and sigma after the step.

    Source:
        Lin, Schmidt and Khan 2020, https://arxiv.org/abs/2002.10060

    Example:
        >>> change, sigma = precision_step(torch.zeros(1), torch.ones(1), 0.1, 1.0)
        >>> torch.allclose(sigma_from_rho(change), sigma)
        True
    """
    sigma = sigma_from_rho(rho)
    # In the tail, sigma equals exp(rho) to rounding, and the floors keep all ratios finite, even if sigma underflows.
    body, odds = sigma.clamp_min(SIGMA_TAIL), rho.clamp_min(RHO_TAIL).neg_().exp_()
    slope = torch.addcmul(body, body, odds)  # dL/dlog(sigma) = slope * dL/drho
    a = _clip(slope.mul_(rate).mul_(gradient), limit)
    ratio = torch.addcmul(a, a, a, value=0.5).add_(1.0).rsqrt_()
    # exp(rho) = exp(sigma) - 1. This form of the change is accurate for both small and large sigma.
    change = body.mul_(ratio - 1.0)
    growth = torch.expm1(change.neg().clamp_max_(_LARGEST_EXPONENT))
    return change.add_(growth.mul_(odds).neg_().log1p_()), sigma.mul_(ratio)


def mean_step(gradient: Tensor, sigma: Tensor, rate: float | Tensor, limit: float) -> Tensor:
    """Compute the change of mu for a natural-gradient step.

    ``change = -rate * sigma^2 * gradient, clipped to [-limit * sigma, limit * sigma]``
    """
    return _clip(gradient * sigma * rate, limit).mul_(sigma).neg_()


def _clip(value: Tensor, limit: float) -> Tensor:
    """Clip to [-limit, limit], but turn infinite numbers into NaN, so that they are noticed."""
    return value.clamp(-limit, limit).add_(value, alpha=0)


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    flat = [tensor.reshape(-1) for tensor in tensors]
    return at_least_float32(flat[0] if len(flat) == 1 else torch.cat(flat))
