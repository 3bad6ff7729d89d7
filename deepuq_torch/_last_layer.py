"""Bayesian linear head on a deterministic backbone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._checks import fault, finite_number, flag, positive_number, positive_size
from ._heteroscedastic import HeteroscedasticOutputs
from ._layers import BayesianLinear
from ._module import BayesianModule
from ._noise import LayerNoise

_TASKS = ("regression", "classification")


class LastLayerVariationalInference(HeteroscedasticOutputs, BayesianModule):
    """Bayesian linear head on deterministic features.

    ``outputs = W feature_extractor(x) + b``, with W and b drawn. Only the head has a posterior, so the backbone costs
    no more than in a deterministic network. ``predict_vi_uq`` computes the features once for all draws, if the
    extractor draws no random numbers itself.

    Args:
        feature_extractor: module from x to ``[..., feature_dim]``.
        feature_dim: size of the features' last axis.
        output_dim: number of targets or classes.
        task: "regression" or "classification".
        heteroscedastic: whether to predict a raw variance per target, too; this has no effect in classification.
        prior_mu: mean of the Gaussian prior over each weight of the head.
        prior_sigma: standard deviation (not a variance) of the prior.
        device: device of the head's parameters; torch's default if None.
        dtype: dtype of the parameters; torch's default if None.

    Raises:
        ValueError: an unknown task, or a size or prior_sigma that is not positive.
        TypeError: an argument of the wrong type.

    Source:
        Harrison, Willes and Snoek 2024, https://arxiv.org/abs/2404.11599, for the idea of a variational last layer

    Example:
        >>> backbone = nn.Sequential(nn.Linear(3, 8), nn.ReLU())
        >>> model = LastLayerVariationalInference(backbone, 8, 2, task="classification")
        >>> tuple(model(torch.ones(4, 3)).shape)
        (4, 2)
    """

    def __init__(
        self,
        feature_extractor: nn.Module,
        feature_dim: int,
        output_dim: int,
        task: str = "regression",
        heteroscedastic: bool = False,
        prior_mu: float = 0.0,
        prior_sigma: float = 0.1,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        if not callable(feature_extractor):
            raise TypeError(fault("feature_extractor", "to be callable", type(feature_extractor).__name__))
        if not isinstance(task, str) or task not in _TASKS:
            raise ValueError(fault("task", "to be 'regression' or 'classification'", repr(task)))
        self.feature_extractor = feature_extractor
        self.feature_dim: int = positive_size("feature_dim", feature_dim)
        self.output_dim: int = positive_size("output_dim", output_dim)
        self.task_type = task
        self.heteroscedastic: bool = flag("heteroscedastic", heteroscedastic) and task == "regression"
        self.prior_mu: float = finite_number("prior_mu", prior_mu)
        self.prior_sigma: float = positive_number("prior_sigma", prior_sigma)
        raw_output_dim = self.output_dim * (2 if self.heteroscedastic else 1)
        self.head: BayesianLinear = BayesianLinear(
            self.feature_dim, raw_output_dim, self.prior_sigma, self.prior_mu, device=device, dtype=dtype
        )

    def forward(
        self,
        x: Tensor,
        sample: bool = True,
        *,
        noise: LayerNoise | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Apply the head to the features, with drawn or mean weights.

        Args:
            x: input of the feature extractor.
            sample: whether to draw the head's weights; if False, they are at their means.
            noise: result of ``draw_noise``, ``(eps_weight, eps_bias)`` of the head.
            generator: generator of the noise; torch's default generator if None.

        Returns:
            ``[..., output_dim]``, or ``[..., 2 * output_dim]`` with means and raw variances if heteroscedastic.

        Raises:
            ValueError: features or noise of the wrong size, noise with ``sample=False``, or both noise and a generator.
            TypeError: the features or the noise have the wrong type.
        """
        return self.head(self.features(x), sample=sample, noise=noise, generator=generator)

    def _script_forward(self, x: Tensor, sample: bool = True) -> Tensor:
        return self.head(self.feature_extractor(x), sample=sample)

    def features(self, x: Tensor) -> Tensor:
        """Output of the feature extractor, ``[..., feature_dim]``.

        Raises:
            ValueError: the last axis of the features is not ``feature_dim``.
        """
        features = self.feature_extractor(x)
        if features.ndim == 0 or features.shape[-1] != self.feature_dim:
            wanted = f"to return a last axis of feature_dim = {self.feature_dim}"
            raise ValueError(fault("feature_extractor", wanted, f"shape {tuple(features.shape)}"))
        return features

    def draw_noise(self, *, generator: torch.Generator | None = None) -> LayerNoise:
        """Draw noise for a pass: ``(eps_weight [out, in], eps_bias [out])``."""
        return self.head.draw_noise(generator=generator)

    def kl(self) -> Tensor:
        """KL(q || p) of the head: a scalar, in nats."""
        return self.head.kl()

    def split_prediction(self, prediction: Tensor) -> tuple[Tensor, Tensor]:
        """Split outputs into means and raw variances.

        Raises:
            RuntimeError: the model is not heteroscedastic.
            ValueError: the last axis has the wrong size.
        """
        self._need_noise("split_prediction")
        return super().split_prediction(prediction)

    def nll(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Gaussian negative log-likelihood without its constant: a scalar.

        Raises:
            RuntimeError: the model is not heteroscedastic.
            ValueError: the prediction or the target has the wrong shape.
        """
        self._need_noise("nll")
        return super().nll(prediction, target)

    def _need_noise(self, method: str) -> None:
        if not self.heteroscedastic:
            raise RuntimeError(fault("the model", f"to be heteroscedastic for {method}", "heteroscedastic=False"))
