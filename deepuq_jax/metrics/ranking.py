"""Metrics that test whether uncertainty ranks examples correctly.

Uncertainty should be high for wrong predictions and for inputs unlike the training data.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import expected
from deepuq_jax._inputs import real_array
from deepuq_jax.functional.gaussian import at_least_float32
from deepuq_jax.functional.moments import entropy_of_probs
from deepuq_jax.metrics.predictions import class_labels, class_probs, uncertainty


def auroc(scores: Any, is_positive: Any) -> Array:
    """Area under the ROC curve.

    It is P(s+ > s-) + 1/2 P(s+ = s-) over all pairs of a positive and a negative example, computed by sorting.

    Args:
        scores: scores [batch] that should be higher for positive examples; or a `UQResult`, whose uncertainty is the
            score: the predictive entropy, or the epistemic variance in regression.
        is_positive: bools [batch].
    Returns:
        A scalar from 0 to 1; NaN if there is no positive or no negative example.
    Raises:
        ValueError, TypeError: the shapes do not match, or `is_positive` is not an array of bools.

    >>> auroc(jnp.array([0.1, 0.4, 0.4, 0.8]), jnp.array([False, False, True, True]))
    Array(0.875, dtype=float32)
    """
    scores, is_positive = uncertainty(scores), real_array("is_positive", is_positive)
    if is_positive.dtype != bool:
        raise TypeError(expected("is_positive", "to be bools [batch]", is_positive))
    if is_positive.shape != scores.shape:
        raise ValueError(expected("is_positive", f"of the shape of the scores, {list(scores.shape)}", is_positive))
    order = jnp.argsort(scores)
    ordered, negative = scores[order], ~is_positive[order]
    # The numbers of negatives below each place are exact, since they are integers. Averaging over both ends of a run of
    # equal scores counts ties as half.
    negatives = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(negative, dtype=jnp.int32)])
    first, last = (jnp.searchsorted(ordered, ordered, side=side) for side in ("left", "right"))
    share_below = 0.5 * (negatives[first] / negatives[-1] + negatives[last] / negatives[-1])
    return jnp.sum(jnp.where(negative, 0.0, share_below)) / jnp.sum(~negative)


def ood_auroc(seen: Any, unseen: Any) -> Array:
    """Area under the ROC curve for detecting unfamiliar inputs.

    Args:
        seen: `UQResult` or scores [batch] for inputs like the training data.
        unseen: `UQResult` or scores [batch] for other inputs, which should have higher scores.
    Returns:
        A scalar from 0 to 1; 0.5 is chance. NaN if `seen` or `unseen` is empty.
    Source: Hendrycks & Gimpel 2017, arXiv 1610.02136.

    >>> ood_auroc(jnp.array([0.1, 0.2]), jnp.array([0.15, 0.6]))
    Array(0.75, dtype=float32)
    """
    seen, unseen = uncertainty(seen, "seen"), uncertainty(unseen, "unseen")
    is_unseen = jnp.arange(seen.size + unseen.size) >= seen.size
    return auroc(jnp.concatenate([seen, unseen]), is_unseen)


def error_auroc(prediction: Any, y: Any, *, scores: Any = None) -> Array:
    """Area under the ROC curve for detecting wrong class predictions.

    Args:
        prediction: `UQResult` of a classification, or probabilities [batch, classes].
        y: integer labels [batch].
        scores: uncertainties [batch]; the default is the entropy of the predicted probabilities.
    Returns:
        A scalar from 0 to 1; NaN if all predictions are right or all are wrong.
    Source: Hendrycks & Gimpel 2017, arXiv 1610.02136.

    >>> probs = jnp.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    >>> error_auroc(probs, jnp.array([0, 0, 1]))
    Array(1., dtype=float32)
    """
    probs = class_probs(prediction)
    is_wrong = probs.argmax(axis=1) != class_labels(y, probs)
    if scores is None:
        scores = entropy_of_probs(probs)
    return auroc(scores, is_wrong)


class RiskCoverage(NamedTuple):
    """Risk of a model that answers its surest examples.

    Attributes:
        coverage: k / n for k = 1 ... n, [batch].
        risk: mean loss of the k surest examples, [batch]; the last entry is the mean loss of all examples.
    """

    coverage: Array
    risk: Array

    @property
    def area(self) -> Array:
        """Area under the curve (AURC).

        It is lower for better models. It is the mean of the risk over coverages, in units of the loss.
        """
        return jnp.mean(self.risk)


def risk_coverage(scores: Any, losses: Any) -> RiskCoverage:
    """Mean loss of the k surest examples, for every k.

    risk_k = 1/k sum of the losses of the k lowest scores. Equal scores are ordered at random, and the risk is the
    expectation over their order.

    Args:
        scores: uncertainties [batch]; or a `UQResult`, whose predictive entropy or epistemic variance is the score.
        losses: losses [batch], such as `result.probs.argmax(1) != y` or a squared error.
    Returns:
        RiskCoverage, whose property `area` is the area under the curve.
    Raises:
        ValueError: the shapes do not match.
    Source: Geifman & El-Yaniv 2017, arXiv 1705.08500; area: Geifman, Uziel & El-Yaniv 2019, arXiv 1805.08206.

    >>> curve = risk_coverage(jnp.array([0.3, 0.1, 0.2]), jnp.array([1.0, 0.0, 0.5]))
    >>> curve.risk.tolist(), float(curve.area)
    ([0.0, 0.25, 0.5], 0.25)
    """
    scores, losses = uncertainty(scores), real_array("losses", losses)
    if losses.shape != scores.shape:
        raise ValueError(expected("losses", f"of the shape of the scores, {list(scores.shape)}", losses))
    losses = at_least_float32(losses)
    order = jnp.argsort(scores)
    ordered = scores[order]
    group = jnp.searchsorted(ordered, ordered, side="left")

    def total(values: Array) -> Array:
        return jax.ops.segment_sum(values, group, num_segments=group.size)[group]

    expected_losses = total(losses[order]) / total(jnp.ones_like(losses))
    count = jnp.arange(1, losses.size + 1, dtype=losses.dtype)
    return RiskCoverage(count / losses.size, jnp.cumsum(expected_losses) / count)
