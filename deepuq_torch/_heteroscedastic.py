"""Input-dependent Gaussian noise: outputs that hold a mean and a raw variance for each target."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ._checks import fault, same_shape

_VARIANCE_FLOOR = 1e-6  # documented
# softplus(raw) + floor = 1: noise of standardised targets of which nothing is known yet.
INITIAL_RAW_VARIANCE = math.log(math.expm1(1.0 - _VARIANCE_FLOOR))


def variance_from_raw(raw_var: Tensor) -> Tensor:
    """Variance (not a std) of a raw output v: ``softplus(v) + 1e-6``, in v's dtype."""
    return F.softplus(raw_var, threshold=40.0) + _VARIANCE_FLOOR  # the threshold: see _gaussian


def split_raw(prediction: Tensor, output_dim: int) -> tuple[Tensor, Tensor]:
    """The first ``output_dim`` outputs are means, the other ``output_dim`` raw variances."""
    if prediction.ndim == 0 or prediction.shape[-1] != 2 * output_dim:
        wanted = f"to have a last axis of 2 * output_dim = {2 * output_dim}"
        raise ValueError(fault("prediction", wanted, f"shape {tuple(prediction.shape)}"))
    return prediction[..., :output_dim], prediction[..., output_dim:]


def gaussian_nll(mean: Tensor, var: Tensor, target: Tensor) -> Tensor:
    """``1/2 ((y - m)^2 / v + log v)``, summed over outputs, mean over the rest: a scalar."""
    same_shape("target", target, mean.shape, "the predicted mean")
    per_output = 0.5 * ((target - mean).square() / var + torch.log(var))
    return per_output.sum(dim=-1).mean()


class HeteroscedasticOutputs:
    """What a model with ``output_dim`` means and as many raw variances can do with its outputs."""

    output_dim: int

    def split_prediction(self, prediction: Tensor) -> tuple[Tensor, Tensor]:
        """Split outputs into means and raw variances.

        Args:
            prediction: ``[..., 2 * output_dim]``.

        Returns:
            ``(mean, raw_var)``, each ``[..., output_dim]``.

        Raises:
            ValueError: the last axis has another size.
        """
        return split_raw(prediction, self.output_dim)

    def predictive_variance(self, raw_var: Tensor) -> Tensor:
        """Noise variance (not a std) of a raw variance v: ``softplus(v) + 1e-6``, of the same shape."""
        return variance_from_raw(raw_var)

    def nll(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Gaussian negative log-likelihood without its constant: ``1/2 ((y - m)^2 / v + log v)``.

        Args:
            prediction: ``[..., 2 * output_dim]``.
            target: ``[..., output_dim]``; another shape is refused and not broadcast.

        Returns:
            a scalar: the sum over outputs, the mean over everything else. ``1/2 log(2 pi)`` for each output
            short of nats; ``negative_elbo`` has it in.

        Raises:
            ValueError: the prediction or the target has the wrong shape.
        """
        mean, raw_var = self.split_prediction(prediction)
        return gaussian_nll(mean, self.predictive_variance(raw_var), target)
