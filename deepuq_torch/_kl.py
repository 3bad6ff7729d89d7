"""KL divergence of diagonal Gaussians.

Outside of a compiled function, its gradient is written out by hand.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ._gaussian import RHO_TAIL, at_least_float32, sigma_from_rho

_SIGMA_TAIL = math.exp(RHO_TAIL)


def gaussian_kl(mu: Tensor, rho: Tensor, prior_mu: float | Tensor, prior_sigma: float | Tensor) -> Tensor:
    """KL divergence of two Gaussians, elementwise, in nats.

    The posterior is N(mu, softplus(rho)^2), the prior N(prior_mu, prior_sigma^2). With ``q = sigma / prior_sigma`` and
    ``d = q - 1``::

        KL = (d + 1/2 d^2 - log q) + 1/2 ((mu - prior_mu) / prior_sigma)^2

    Near q = 1 the difference loses about eps / d of itself. This is the conditioning of the KL: a change of sigma by an
    ulp moves it by as much, so a series would cost more than it gains. The KL is never negative, and zero at q = 1 if
    the means are equal.

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
    # A function transform replaces the Parameters that it differentiates or batches by tensors of its own, which take
    # the plain formula.
    own = isinstance(mu, nn.Parameter) and isinstance(rho, nn.Parameter) and mu.shape == rho.shape
    numbers = not isinstance(prior_mu, Tensor) and not isinstance(prior_sigma, Tensor)
    mu, rho = at_least_float32(mu), at_least_float32(rho)
    if own and numbers and not torch.compiler.is_compiling():
        return _KLWithGradient.apply(mu, rho, prior_mu, prior_sigma)[0]  # type: ignore[no-any-return]
    return _plain_kl(mu, rho, prior_mu, prior_sigma)


def _plain_kl(mu: Tensor, rho: Tensor, prior_mu: float | Tensor, prior_sigma: float | Tensor) -> Tensor:
    """Compute the formula for autograd and the compiler."""
    sigma = sigma_from_rho(rho)
    beyond = sigma / prior_sigma - 1.0
    # In the tail log sigma equals rho to rounding, even if sigma underflows.
    log_ratio = torch.log(sigma.clamp_min(_SIGMA_TAIL) / prior_sigma) - torch.relu(RHO_TAIL - rho)
    # Rounding may make the difference negative; a KL is never negative.
    spread = (beyond + 0.5 * beyond.square() - log_ratio).clamp_min(0.0)
    return spread + 0.5 * ((mu - prior_mu) / prior_sigma).square()


def _slope(rho: Tensor, prior_sigma: float) -> Tensor:
    """Derivative of the KL in rho.

    ``dKL / drho = (q^2 - 1) dlog(sigma) / drho = d (d + 2) sigmoid(rho) / sigma``
    """
    beyond = sigma_from_rho(rho) / prior_sigma - 1.0
    body = rho.clamp_min(RHO_TAIL)
    return beyond * (beyond + 2.0) * (torch.sigmoid(body) / sigma_from_rho(body))


class _KLWithGradient(torch.autograd.Function):
    """The KL and its derivative in rho, as ``(kl, slope)``.

    Backward multiplies by the slope. Autograd would keep a dozen tensors of the weights' size alive until backward, and
    on a CPU their fresh memory costs more than the arithmetic. Here the arithmetic is done in place, and a single
    tensor is kept.
    """

    @staticmethod
    def forward(mu: Tensor, rho: Tensor, prior_mu: float, prior_sigma: float) -> tuple[Tensor, Tensor]:
        sigma = sigma_from_rho(rho)
        body = sigma.clamp_min(_SIGMA_TAIL)
        beyond = sigma.div_(prior_sigma).sub_(1.0)
        kl = torch.addcmul(beyond, beyond, beyond, value=0.5)
        slope = beyond.mul_(beyond + 2.0).div_(body).mul_(rho.clamp_min(RHO_TAIL).sigmoid_())
        kl.sub_(body.div_(prior_sigma).log_()).add_((RHO_TAIL - rho).relu_()).clamp_min_(0.0)
        z = (mu - prior_mu).div_(prior_sigma)
        return kl.addcmul_(z, z, value=0.5), slope

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, float, float], output: tuple[Tensor, Tensor]) -> None:
        mu, rho, ctx.prior_mu, ctx.prior_sigma = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(mu, rho, output[1])
        ctx.save_for_forward(mu, rho)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None]:  # type: ignore[override]
        mu, rho, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # for a second derivative
            slope = _slope(rho, ctx.prior_sigma)
        return grad * ((mu - ctx.prior_mu) / ctx.prior_sigma**2), grad * slope, None, None

    @staticmethod
    def jvp(ctx: Any, by_mu: Tensor, by_rho: Tensor, *_: None) -> tuple[Tensor, None]:  # type: ignore[override]
        mu, rho = ctx.saved_tensors
        return by_mu * ((mu - ctx.prior_mu) / ctx.prior_sigma**2) + by_rho * _slope(rho, ctx.prior_sigma), None

    @staticmethod
    def vmap(  # type: ignore[override]
        info: Any, in_dims: tuple[int | None, ...], mu: Tensor, rho: Tensor, prior_mu: float, prior_sigma: float
    ) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        mu, rho = (
            value.expand(info.batch_size, *value.shape) if dim is None else value.movedim(dim, 0)
            for value, dim in zip((mu, rho), in_dims, strict=False)
        )
        return _KLWithGradient.apply(mu, rho, prior_mu, prior_sigma), (0, 0)  # type: ignore[return-value]
