"""Whether uncertainty is where it should be: on errors, and on inputs of another kind than the data."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import expected
from deepuq_jax.functional.gaussian import at_least_float32
from deepuq_jax.functional.moments import entropy_of_probs
from deepuq_jax.metrics._predictions import class_labels, class_probs, uncertainty


def auroc(scores: Any, is_positive: Any) -> Array:
    """Area under the ROC curve: how likely a positive example has a higher score than a negative one.

    P(s+ > s-) + 1/2 P(s+ = s-), over all pairs, by sorting.

    Args:
        scores: [batch], higher for what should be positive; or a `UQResult`, for its uncertainty: predictive entropy,
            or in regression the epistemic variance.
        is_positive: bools [batch].
    Returns:
        A scalar from 0 to 1; NaN where one of the two kinds is absent.
    Raises:
        ValueError, TypeError: other shapes, not bools.

    >>> auroc(jnp.array([0.1, 0.4, 0.4, 0.8]), jnp.array([False, False, True, True]))
    Array(0.875, dtype=float32)
    """
    scores, is_positive = uncertainty(scores), jnp.asarray(is_positive)
    if is_positive.dtype != bool:
        raise TypeError(expected("is_positive", "to be bools [batch]", is_positive))
    if is_positive.shape != scores.shape:
        raise ValueError(expected("is_positive", f"of the shape of the scores, {list(scores.shape)}", is_positive))
    order = jnp.argsort(scores)
    ordered, negative = scores[order], ~is_positive[order]
    # Negatives below each place, exact in integers; ties count half, from both ends of their run.
    negatives = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(negative, dtype=jnp.int32)])
    first, last = (jnp.searchsorted(ordered, ordered, side=side) for side in ("left", "right"))
    share_below = 0.5 * (negatives[first] / negatives[-1] + negatives[last] / negatives[-1])
    return jnp.sum(jnp.where(negative, 0.0, share_below)) / jnp.sum(~negative)


def ood_auroc(seen: Any, unseen: Any) -> Array:
    """How well uncertainty tells inputs of another kind from those like the training data: `auroc` of the two.

    Args:
        seen, unseen: each a `UQResult`, or scores of your own [batch], higher for the unseen.
    Returns:
        A scalar from 0 to 1; 0.5 is chance.
    Source: Hendrycks & Gimpel 2017, arXiv 1610.02136.

    >>> ood_auroc(jnp.array([0.1, 0.2]), jnp.array([0.15, 0.6]))
    Array(0.75, dtype=float32)
    """
    seen, unseen = uncertainty(seen), uncertainty(unseen)
    is_unseen = jnp.arange(seen.size + unseen.size) >= seen.size
    return auroc(jnp.concatenate([seen, unseen]), is_unseen)


def error_auroc(prediction: Any, y: Any, *, scores: Any = None) -> Array:
    """How well uncertainty tells wrong class predictions from right ones: `auroc` of the two.

    Args:
        prediction: `UQResult` of a classification, or probabilities [batch, classes].
        y: integer labels [batch].
        scores: uncertainty [batch]; default the entropy of the predicted probabilities.
    Returns:
        A scalar from 0 to 1; NaN where no prediction is wrong, or every one.
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
    """The risk of a model that answers only where it is sure.

    Attributes:
        coverage: k / n for k = 1 ... n, [batch].
        risk: mean loss of the k examples it is surest of, [batch]; the last is that of all.
    """

    coverage: Array
    risk: Array

    @property
    def area(self) -> Array:
        """Mean of the risk over coverages (AURC), in units of the loss: lower is better."""
        return jnp.mean(self.risk)


def risk_coverage(scores: Any, losses: Any) -> RiskCoverage:
    """The mean loss of the surest k examples, for every k.

    risk_k = 1/k sum of the losses of the k lowest scores. Among equal scores the order is left to chance, and the
    risk is its expectation.

    Args:
        scores: uncertainties [batch]; or a `UQResult`, for its predictive entropy or epistemic variance.
        losses: [batch]: `result.probs.argmax(1) != y`, a squared error, or any other.
    Returns:
        RiskCoverage, with the area under the curve.
    Raises:
        ValueError: other shapes.
    Source: Geifman & El-Yaniv 2017, arXiv 1705.08500; area: Geifman, Uziel & El-Yaniv 2019, arXiv 1805.08206.

    >>> curve = risk_coverage(jnp.array([0.3, 0.1, 0.2]), jnp.array([1.0, 0.0, 0.5]))
    >>> curve.risk.tolist(), float(curve.area)
    ([0.0, 0.25, 0.5], 0.25)
    """
    scores, losses = uncertainty(scores), jnp.asarray(losses)
    if losses.shape != scores.shape:
        raise ValueError(expected("losses", f"of the shape of the scores, {list(scores.shape)}", losses))
    losses = at_least_float32(losses)
    order = jnp.argsort(scores)
    ordered = scores[order]
    group = jnp.searchsorted(ordered, ordered, side="left")
    total = lambda values: jax.ops.segment_sum(values, group, num_segments=group.size)[group]
    expected_losses = total(losses[order]) / total(jnp.ones_like(losses))
    count = jnp.arange(1, losses.size + 1, dtype=losses.dtype)
    return RiskCoverage(count / losses.size, jnp.cumsum(expected_losses) / count)
