"""Bayesian regressor that learns one noise variance per target, the same for all inputs."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ._heteroscedastic import INITIAL_RAW_VARIANCE, HeteroscedasticOutputs
from ._noise import Noise
from ._regressors import BayesianRegressor


class HomoscedasticBayesByBackpropRegressor(HeteroscedasticOutputs, BayesianRegressor):
    """Bayesian regressor that learns the noise of its targets.

    ``y ~ N(m(x), v)`` with ``v = softplus(raw_var) + 1e-6`` per target, the same for every input. ``raw_var`` is an
    ordinary parameter ``[output_dim]`` without a posterior, so it has no KL, and v starts at 1. The outputs are
    ``output_dim`` means followed by as many raw variances. The documented API does not have this class.

    Args:
        input_dim: size of x's last axis.
        hidden_dims: sizes of the hidden layers; if empty, the network is a single linear layer.
        output_dim: number of targets.
        prior_mu: mean of the Gaussian prior over each weight.
        prior_sigma: standard deviation (not a variance) of the prior.
        activation: "relu", "gelu", "tanh" or "silu".
        device: device of the parameters; torch's default if None.
        dtype: dtype of the parameters; torch's default if None.

    Raises:
        ValueError: a size or prior_sigma that is not positive, an unknown activation.
        TypeError: an argument of the wrong type.

    Source:
        Blundell et al. 2015, https://arxiv.org/abs/1505.05424

    Example:
        >>> model = HomoscedasticBayesByBackpropRegressor(3, hidden_dims=(8,))
        >>> mean, raw_var = model.split_prediction(model(torch.ones(4, 3)))
        >>> tuple(mean.shape), round(model.predictive_variance(raw_var)[0].item(), 5)
        ((4, 1), 1.0)
    """

    heteroscedastic = False
    predicts_noise = True

    def __init__(
        self,
        input_dim: int,
        hidden_dims: Iterable[int] = (64, 64),
        output_dim: int = 1,
        prior_mu: float = 0.0,
        prior_sigma: float = 0.1,
        activation: str = "tanh",
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__(
            input_dim, output_dim, hidden_dims, prior_mu, prior_sigma, activation, device=device, dtype=dtype
        )
        self.raw_output_dim: int = 2 * self.output_dim
        raw_var = torch.full((self.output_dim,), INITIAL_RAW_VARIANCE, device=device, dtype=dtype)
        self.raw_var: nn.Parameter = nn.Parameter(raw_var)

    def forward(
        self,
        x: Tensor,
        sample: bool = True,
        *,
        noise: Noise | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return means and raw variances, ``[..., 2 * output_dim]``, of a pass."""
        means = super().forward(x, sample, noise=noise, generator=generator)
        return torch.cat([means, self.raw_var.to(means.dtype).expand_as(means)], dim=-1)

    def _script_forward(self, x: Tensor, sample: bool = True) -> Tensor:
        for layer in self.hidden_layers:
            x = self.activation(layer(x, sample=sample))
        means = self.output_layer(x, sample=sample)
        return torch.cat([means, self.raw_var.to(means.dtype).expand_as(means)], dim=-1)
