"""Bayesian affine layer some of whose weights are pruned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ._checks import fault
from ._kl import gaussian_kl
from ._layers import BayesianLinear


class PruneMask(nn.Module):
    """Booleans for a weight and a bias, False if pruned."""

    if TYPE_CHECKING:
        weight: Tensor
        bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)


class PrunedLinear(BayesianLinear):
    """``BayesianLinear`` with pruned weights.

    A pruned weight is 0 in every draw and at the means, adds nothing to the KL, and has no gradient. ``load`` makes
    such layers of the layers that ``deepuq_jax.prune`` has pruned. All weights are kept at first.

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

        TorchScript does not count this class as a ``BayesianLinear``: an MLP would draw with ``sample=False``, too.
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
