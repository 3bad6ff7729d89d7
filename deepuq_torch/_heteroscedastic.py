"""Predicted Gaussian noise: the outputs are a mean and a raw variance per target."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ._checks import fault, same_shape

_VARIANCE_FLOOR = 1e-6  # documented
# softplus(raw) + floor = 1, the variance of standardized targets before anything is known about them.
INITIAL_RAW_VARIANCE = math.log(math.expm1(1.0 - _VARIANCE_FLOOR))


def variance_from_raw(raw_var: Tensor) -> Tensor:
    """Variance ``softplus(v) + 1e-6`` of a raw variance v."""
    return F.softplus(raw_var, threshold=40.0) + _VARIANCE_FLOOR  # the threshold: see _gaussian


def split_raw(prediction: Tensor, output_dim: int) -> tuple[Tensor, Tensor]:
    """Split outputs into ``output_dim`` means and as many raw variances."""
    if prediction.ndim == 0 or prediction.shape[-1] != 2 * output_dim:
        wanted = f"to have a last axis of 2 * output_dim = {2 * output_dim}"
        raise ValueError(fault("prediction", wanted, f"shape {tuple(prediction.shape)}"))
    return prediction[..., :output_dim], prediction[..., output_dim:]


def gaussian_nll(mean: Tensor, var: Tensor, target: Tensor) -> Tensor:
    """Average ``1/2 ((y - m)^2 / v + log v)``, summed over outputs."""
    same_shape("target", target, mean.shape, "the predicted mean")
    per_output = 0.5 * ((target - mean).square() / var + torch.log(var))
    return per_output.sum(dim=-1).mean()


class HeteroscedasticOutputs:
    """Methods of models whose outputs are means and raw variances.

    There are ``output_dim`` of each.
    """

    if TYPE_CHECKING:  # torch.jit.script would read the annotation, and does not know it as a string
        output_dim: int

    def split_prediction(self, prediction: Tensor) -> tuple[Tensor, Tensor]:
        """Split outputs into means and raw variances.

        Args:
            prediction: ``[..., 2 * output_dim]``.

        Returns:
            ``(mean, raw_var)``, each ``[..., output_dim]``.

        Raises:
            ValueError: the last axis has a different size.
        """
        return split_raw(prediction, self.output_dim)

    def predictive_variance(self, raw_var: Tensor) -> Tensor:
        """Noise variance (not a std): ``softplus(raw_var) + 1e-6``."""
        return variance_from_raw(raw_var)

    def nll(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Gaussian negative log-likelihood without its constant.

        It is ``1/2 ((y - m)^2 / v + log v)`` per target.

        Args:
            prediction: ``[..., 2 * output_dim]``.
            target: ``[..., output_dim]``; other shapes are refused, not broadcast.

        Returns:
            a scalar: the sum over targets, averaged over all other axes. It leaves out the constant ``1/2 log(2 pi)``
            per target, which ``negative_elbo`` includes.

        Raises:
            ValueError: the prediction or the target has the wrong shape.
        """
        mean, raw_var = self.split_prediction(prediction)
        return gaussian_nll(mean, self.predictive_variance(raw_var), target)
