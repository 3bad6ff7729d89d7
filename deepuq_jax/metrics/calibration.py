"""Calibration of class probabilities.

A calibrated model is right in eight of ten predictions that it makes with confidence 0.8.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._arguments import check_choice
from deepuq_jax._checks import check_count
from deepuq_jax.metrics.predictions import class_labels, class_probs

BINNINGS = ("width", "mass")


class Reliability(NamedTuple):
    """The data of a reliability diagram.

    Bin b holds the examples with a confidence in (edges[b], edges[b + 1]], and bin 0 those at edges[0] too.

    Attributes:
        confidence: mean confidence of each bin [bins]; NaN for an empty bin.
        accuracy: share of right predictions in each bin [bins]; NaN for an empty bin.
        count: number of examples in each bin [bins].
        edges: edges of the bins [bins + 1], ascending.
    """

    confidence: Array
    accuracy: Array
    count: Array
    edges: Array

    @property
    def error(self) -> Array:
        """Expected calibration error, from 0 to 1.

        It is sum_b count_b / n |accuracy_b - confidence_b|.
        """
        gap = jnp.where(self.count > 0, jnp.abs(self.accuracy - self.confidence), 0.0)
        return jnp.sum(self.count / self.count.sum() * gap)


def reliability(prediction: Any, y: Any, *, bins: int = 15, binning: str = "width") -> Reliability:
    """Confidence and accuracy in bins of confidence.

    The confidence of a prediction is its highest class probability.

    Args:
        prediction: `UQResult` of a classification, or probabilities [batch, classes].
        y: integer labels [batch].
        bins: number of bins.
        binning: "width" puts the edges at k / bins; "mass" puts them at the quantiles of the confidences, so that bins
            hold similar numbers of examples (equal confidences stay together).
    Returns:
        Reliability, with arrays [bins].
    Raises:
        ValueError, TypeError: the shapes do not match, the labels are not integers, `bins` is not a positive int, or
            `binning` is unknown.
    Source: Guo et al. 2017, arXiv 1706.04599; equal mass: Nixon et al. 2019, arXiv 1904.01685.

    >>> data = reliability(jnp.array([[0.9, 0.1], [0.3, 0.7]]), jnp.array([0, 0]), bins=2)
    >>> data.count.tolist(), data.accuracy.tolist(), round(float(data.confidence[1]), 3)
    ([0, 2], [nan, 0.5], 0.8)
    """
    probs = class_probs(prediction)
    labels = class_labels(y, probs)
    bins = check_count("bins", bins)
    check_choice("binning", binning, BINNINGS)
    confidence = probs.max(axis=1)
    is_right = (probs.argmax(axis=1) == labels).astype(confidence.dtype)
    edges = jnp.arange(bins + 1, dtype=confidence.dtype) / bins
    if binning == "mass":
        edges = jnp.quantile(confidence, edges)
    bin_of = jnp.searchsorted(edges[1:-1], confidence, side="left")

    def total(values: Array) -> Array:
        return jax.ops.segment_sum(values, bin_of, num_segments=bins)

    count = total(jnp.ones_like(bin_of))

    def mean(values: Array) -> Array:
        return jnp.where(count > 0, total(values) / jnp.maximum(count, 1), jnp.nan)

    return Reliability(mean(confidence), mean(is_right), count, edges)


def expected_calibration_error(prediction: Any, y: Any, *, bins: int = 15, binning: str = "width") -> Array:
    """Mean gap between confidence and accuracy.

    It is sum_b n_b / n |accuracy_b - confidence_b| over bins of confidence.

    Args:
        prediction, y, bins, binning: as in `reliability`.
    Returns:
        A scalar from 0 to 1. It is biased upwards by about sqrt(bins / n), so compare models at equal n.
    Source: Guo et al. 2017, arXiv 1706.04599.

    >>> probs = jnp.array([[0.9, 0.1], [0.3, 0.7]])
    >>> round(float(expected_calibration_error(probs, jnp.array([0, 0]))), 3)  # (0.1 + 0.7) / 2
    0.4
    """
    return reliability(prediction, y, bins=bins, binning=binning).error
