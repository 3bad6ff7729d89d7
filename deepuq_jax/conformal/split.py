"""Split conformal intervals around a predictive mean.

Source: Lei, G'Sell, Rinaldo, Tibshirani & Wasserman 2018, Distribution-Free Predictive Inference for Regression,
arXiv 1604.04173.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from deepuq_jax._arguments import check_axes
from deepuq_jax._checks import check_flag, expected, is_concrete
from deepuq_jax._inputs import real_array
from deepuq_jax._pytree import register
from deepuq_jax.conformal.quantile import checked_scores, conformal_quantile
from deepuq_jax.functional.gaussian import at_least_float32
from deepuq_jax.metrics.predictions import real_targets
from deepuq_jax.types import UQResult


@register(static=("normalized",))
@dataclass(frozen=True)
class SplitIntervals:
    """Calibrated intervals around a mean, from `split`.

    Attributes:
        scores: calibration scores, [n, ...].
        normalized: whether the scores are in predictive standard deviations.
    """

    scores: Array
    normalized: bool

    def interval(self, prediction: Any, level: float = 0.9) -> tuple[Array, Array]:
        """Compute intervals that contain the target with probability `level`.

        They are mean -+ q, or mean -+ q sqrt(total_var) if normalized, with q = conformal_quantile(scores, level).

        Args:
            prediction: for new inputs, of the kind that was passed to `split`.
            level: probability, a Python number between 0 and 1.
        Returns:
            (lower, upper), each of the shape of the mean.
        """
        mean, scale = _mean_and_scale(prediction, self.normalized)
        if mean.shape[1:] != self.scores.shape[1:]:
            what = f"of targets as in calibration, [batch{''.join(f', {n}' for n in self.scores.shape[1:])}]"
            raise ValueError(expected("prediction", what, mean))
        reach = conformal_quantile(self.scores, level)[None] * scale
        return mean - reach, mean + reach


def split(prediction: Any, y: Any, *, normalized: bool = False) -> SplitIntervals:
    """Calibrate intervals around the predictive mean.

    The scores are |y - mean|, or |y - mean| / sqrt(total_var) if normalized. With the former scores, all intervals have
    the same width; with the latter, they are wide where the model is unsure.

    Args:
        prediction: for the calibration inputs: a `UQResult` of a regression, a pair (mean, var), or, without
            `normalized`, the mean.
        y: calibration targets, of the shape of the mean, not used in training. Each of several targets is calibrated on
            its own.
        normalized: divide by the predictive standard deviations.
    Returns:
        SplitIntervals, whose `interval(prediction, level)` gives the intervals of new inputs.
    Raises:
        ValueError, TypeError: the shapes do not match, the prediction is a classification, or `normalized` is set and a
            variance is missing or not positive.

    >>> calibrated = split(jnp.zeros(19), jnp.arange(1.0, 20.0))
    >>> [float(bound[0]) for bound in calibrated.interval(jnp.full(1, 100.0), level=0.9)]
    [82.0, 118.0]
    """
    mean, scale = _mean_and_scale(prediction, check_flag("normalized", normalized))
    scores = jnp.abs(real_targets(y, mean) - mean) / scale
    return SplitIntervals(checked_scores("prediction and y", scores), bool(normalized))


def _mean_and_scale(prediction: Any, normalized: bool) -> tuple[Array, Any]:
    """Extract the mean, and the standard deviation or 1."""
    mean, var = _moments(prediction)
    mean = at_least_float32(real_array("prediction", mean))
    check_axes("prediction", mean, 1)
    if not normalized:
        return mean, 1.0
    if var is None:
        raise ValueError("Expected prediction to have a variance for normalized=True; got a mean alone.")
    var = at_least_float32(real_array("prediction", var))
    if var.shape != mean.shape:
        raise ValueError(expected("the variance of prediction", f"of the shape of the mean, {list(mean.shape)}", var))
    if is_concrete(var) and not (np.asarray(var) > 0).all():
        got = "an entry that is not"
        raise ValueError(expected("the variance of prediction", "to be positive for normalized=True", got))
    return mean, jnp.sqrt(var)


def _moments(prediction: Any) -> tuple[Any, Any]:
    if isinstance(prediction, UQResult):
        if prediction.probs is not None:
            raise ValueError("Expected prediction to be a regression; got a classification, which needs aps.")
        return prediction.mean, prediction.total_var
    if isinstance(prediction, tuple):
        if len(prediction) != 2:
            raise TypeError(expected("prediction", "to be a UQResult, a pair (mean, var) or a mean", prediction))
        return prediction
    return prediction, None
