"""KL divergence of diagonal Gaussians, elementwise and summed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ._gaussian import RHO_TAIL, SIGMA_TAIL, at_least, at_least_float32, sigma_from_rho

# (mu, rho, prior_mu, prior_sigma)
Term: TypeAlias = "tuple[Tensor, Tensor, float | Tensor, float | Tensor]"
# Tensors of up to this number of elements are joined: one call of each operation per tensor would cost more than
# copying the tensors.
_SMALL = 2**13


def gaussian_kl(mu: Tensor, rho: Tensor, prior_mu: float | Tensor, prior_sigma: float | Tensor) -> Tensor:
    """KL divergence of two Gaussians, elementwise, in nats.

    The posterior is N(mu, softplus(rho)^2), the prior N(prior_mu, prior_sigma^2). With ``q = sigma / prior_sigma`` and
    ``d = q - 1``::

        KL = (d + 1/2 d^2 - log q) + 1/2 ((mu - prior_mu) / prior_sigma)^2

    Near q = 1, rounding gives the difference in parentheses a relative error of about eps / d. This is the conditioning
    of the KL: a change of sigma by one ulp changes the KL by as much, so a series would cost more than it gains. The KL
    is never negative, and it is zero at q = 1 if the means are equal.

    Args:
        mu: posterior means, any shape.
        rho: of the same shape; ``sigma = softplus(rho)``.
        prior_mu: prior mean, a number or a tensor that broadcasts.
        prior_sigma: positive prior standard deviation (not a variance), a number or a tensor that broadcasts; below
            1e20 in float32.

    Returns:
        nats per element, in at least float32.

    Source:
        Blundell et al. 2015, https://arxiv.org/abs/1505.05424. The textbook form is algebraically the same, but cancels
        in float32 if sigma is near prior_sigma.

    Example:
        >>> from deepuq_torch.functional import rho_from_sigma
        >>> gaussian_kl(torch.tensor([0.0]), rho_from_sigma(torch.tensor([0.2])), 0.0, 0.1)
        tensor([0.8069])
    """
    mu, rho = at_least_float32(mu), at_least_float32(rho)
    sigma = sigma_from_rho(rho)
    beyond = sigma / prior_sigma - 1.0
    # In the tail log sigma equals rho to rounding, even if sigma underflows.
    log_ratio = torch.log(at_least(sigma, SIGMA_TAIL) / prior_sigma) - torch.relu(RHO_TAIL - rho)
    # Rounding may make the difference negative; a KL is never negative.
    spread = (beyond + 0.5 * beyond.square() - log_ratio).clamp_min(0.0)
    return spread + 0.5 * ((mu - prior_mu) / prior_sigma).square()


def total_kl(terms: Sequence[Term], others: Sequence[Tensor] = ()) -> Tensor:
    """Sum the KL of several posteriors, and other parts.

    The gradient with respect to Parameters is written out by hand. Autograd would keep a dozen tensors of the weights'
    size until backward, and on a CPU allocating them costs more than the arithmetic.

    Returns:
        a scalar, in nats.
    """
    # The plain formula serves function transforms, which replace the Parameters, and compilers, which fuse it.
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return _total([*others, *(gaussian_kl(*term).sum() for term in terms)])
    groups: dict[Any, list[Tensor]] = {}
    parts = list(others)
    for mu, rho, prior_mu, prior_sigma in terms:
        numbers = not isinstance(prior_mu, Tensor) and not isinstance(prior_sigma, Tensor)
        if numbers and isinstance(mu, nn.Parameter) and isinstance(rho, nn.Parameter) and mu.shape == rho.shape:
            alone = None if mu.numel() <= _SMALL else len(groups)
            key = (prior_mu, prior_sigma, mu.dtype, rho.dtype, mu.device, alone)
            groups.setdefault(key, []).extend((at_least_float32(mu), at_least_float32(rho)))
        else:
            parts.append(gaussian_kl(mu, rho, prior_mu, prior_sigma).sum())
    for (prior_mu, prior_sigma, *_), parameters in groups.items():
        parts.append(_KLWithGradient.apply(prior_mu, prior_sigma, *parameters))  # type: ignore[arg-type]
    return _total(parts)


def _total(parts: Sequence[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


class _KLWithGradient(torch.autograd.Function):
    """The summed KL, with its derivatives.

    The arguments are ``(prior_mu, prior_sigma, mu, rho, mu, rho, ...)``. Forward computes in place, and keeps the
    slopes for backward. Several tensors are computed as one.
    """

    @staticmethod
    def forward(ctx: Any, prior_mu: float, prior_sigma: float, *parameters: Tensor) -> Tensor:  # type: ignore[override]
        total, *slopes = _sum_and_slopes(_joined(parameters[::2]), _joined(parameters[1::2]), prior_mu, prior_sigma)
        ctx.prior = prior_mu, prior_sigma
        ctx.save_for_backward(*parameters, *slopes)
        ctx.save_for_forward(*parameters)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        *parameters, by_mu, by_rho = ctx.saved_tensors
        if torch.is_grad_enabled():  # for a second derivative
            gradients = [grad * slope for slope in _slopes(parameters, *ctx.prior)]
        elif len(parameters) == 2:
            gradients = [grad * by_mu, grad * by_rho]
        else:
            sizes = [mu.numel() for mu in parameters[::2]]
            flat = [(grad * slopes).split(sizes) for slopes in (by_mu, by_rho)]
            gradients = [flat[i % 2][i // 2].view(parameter.shape) for i, parameter in enumerate(parameters)]
        return None, None, *gradients

    @staticmethod
    def jvp(ctx: Any, _: None, __: None, *tangents: Tensor | None) -> Tensor:  # type: ignore[override]
        slopes = _slopes(ctx.saved_tensors[: len(tangents)], *ctx.prior)
        pairs = zip(tangents, slopes, strict=True)
        return _total([(tangent * slope).sum() for tangent, slope in pairs if tangent is not None])


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat([tensor.reshape(-1) for tensor in tensors])


def _sum_and_slopes(mu: Tensor, rho: Tensor, prior_mu: float, prior_sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the summed KL and its slopes in mu and rho."""
    sigma = sigma_from_rho(rho)
    body = sigma.clamp_min(SIGMA_TAIL)
    beyond = sigma.div_(prior_sigma).sub_(1.0)
    kl = torch.addcmul(beyond, beyond, beyond, value=0.5)
    by_rho = beyond.mul_(beyond + 2.0).div_(body).mul_(rho.clamp_min(RHO_TAIL).sigmoid_())
    kl.sub_(body.div_(prior_sigma).log_()).add_((RHO_TAIL - rho).relu_()).clamp_min_(0.0)
    z = (mu - prior_mu).div_(prior_sigma)
    return kl.addcmul_(z, z, value=0.5).sum(), z.div_(prior_sigma), by_rho


def _slopes(parameters: Sequence[Tensor], prior_mu: float, prior_sigma: float) -> Iterator[Tensor]:
    """Yield the slopes in mu and rho, in turn.

    Autograd can differentiate them again. With q and d as in `gaussian_kl`,

    ``dKL / drho = (q^2 - 1) dlog(sigma) / drho = d (d + 2) sigmoid(rho) / sigma``
    """
    for mu, rho in zip(parameters[::2], parameters[1::2], strict=True):
        yield (mu - prior_mu) / prior_sigma**2
        beyond = sigma_from_rho(rho) / prior_sigma - 1.0
        body = at_least(rho, RHO_TAIL)
        yield beyond * (beyond + 2.0) * (torch.sigmoid(body) / sigma_from_rho(body))
