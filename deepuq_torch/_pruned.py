"""Bayesian affine layer with pruned weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ._checks import fault
from ._kl import gaussian_kl
from ._layers import BayesianLinear


class PruneMask(nn.Module):
    """Booleans for the entries of a weight and a bias, False for pruned entries."""

    if TYPE_CHECKING:
        weight: Tensor
        bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)


class PrunedLinear(BayesianLinear):
    """``BayesianLinear`` with pruned weights.

    A pruned weight is 0 in every draw and at the means, adds nothing to the KL, and has the gradient 0. ``load`` makes
    such layers from those that ``deepuq_jax.prune`` has pruned. A new layer keeps all weights.

    Args:
        in_features, out_features, prior_sigma, prior_mu, device, dtype: as in ``BayesianLinear``.

    Example:
        >>> layer = PrunedLinear(3, 2)
        >>> torch.equal(layer.kl(), BayesianLinear(3, 2).kl())
        True
        >>> layer.prune_mask.weight[:] = False
        >>> torch.equal(layer(torch.ones(4, 3), sample=False), layer(torch.zeros(4, 3), sample=False))
        True
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        prior_sigma: float = 0.1,
        prior_mu: float = 0.0,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__(in_features, out_features, prior_sigma, prior_mu, device=device, dtype=dtype)
        weight, bias = self.weight_posterior.mu, self.bias_posterior.mu
        self.prune_mask = PruneMask(torch.ones_like(weight, dtype=torch.bool), torch.ones_like(bias, dtype=torch.bool))

    def __prepare_scriptable__(self) -> nn.Module:
        """Refuse to be scripted.

        TorchScript does not treat this class as a ``BayesianLinear``, so an MLP would draw even with ``sample=False``.
        """
        raise TypeError(fault("the model", "to have no pruned layers in torch.jit.script", type(self).__name__))

    def _affine(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        kept = self.prune_mask
        return super()._affine(x, torch.where(kept.weight, weight, 0.0), torch.where(kept.bias, bias, 0.0))

    def kl(self) -> Tensor:
        """KL(q || p) of the kept weights: a scalar, in nats."""
        pairs = ((self.weight_posterior, self.prune_mask.weight), (self.bias_posterior, self.prune_mask.bias))
        parts = [
            torch.where(kept, gaussian_kl(posterior.mu, posterior.rho, self.prior.mu, self.prior.sigma), 0.0).sum()
            for posterior, kept in pairs
        ]
        return parts[0] + parts[1]
