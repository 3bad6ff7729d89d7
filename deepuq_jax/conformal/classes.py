"""Adaptive prediction sets for classification.

Source: Romano, Sesia & Candes 2020, arXiv 2006.02544 (APS); Angelopoulos, Bates, Malik & Jordan 2021, arXiv 2009.14193
(RAPS).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from deepuq_jax._checks import (
    check_count,
    check_finite_number,
    check_key,
    check_one_of,
    check_scalar,
    expected,
    is_concrete,
)
from deepuq_jax._inputs import real_array
from deepuq_jax._pytree import register
from deepuq_jax.conformal.quantile import checked_scores, conformal_quantile
from deepuq_jax.functional.gaussian import at_least_float32
from deepuq_jax.metrics.predictions import class_labels, class_probs

# Folded into a caller's key, so that the same key may serve for calibration and prediction.
_CALIBRATION, _PREDICTION = 0, 1


@register(static=("free_classes", "randomized"))
@dataclass(frozen=True)
class PredictionSets:
    """Calibrated sets of classes, from `aps` or `raps`.

    Attributes:
        scores: calibration scores, [n].
        penalty: penalty per class beyond the first `free_classes`.
        free_classes: number of classes without a penalty.
        randomized: whether the scores are randomized.
    """

    scores: Array
    penalty: Any
    free_classes: int
    randomized: bool

    def sets(self, prediction: Any, level: float = 0.9, *, key: Array | None = None, noise: Any = None) -> Array:
        """Compute sets that contain the label with probability `level`.

        A set holds the classes whose score is at most conformal_quantile(scores, level). It may be empty. If the most
        probable class is added to it, it is never empty and covers no less.

        Args:
            prediction: for new inputs: a `UQResult` of a classification, or probabilities [batch, classes].
            level: probability, a Python number between 0 and 1.
            key, noise: as in `aps`; one of them if the calibration was randomized, else neither. The key of the
                calibration may be used again.
        Returns:
            booleans [batch, classes], True for the classes in the set.
        """
        probs = class_probs(prediction)
        if self.randomized != (key is not None or noise is not None):
            what = "for sets whose calibration was randomized" if self.randomized else "to be None, as in calibration"
            raise ValueError(expected("key or noise", what, "neither" if self.randomized else "one of them"))
        noise = _uniform(probs, key, noise, _PREDICTION)
        scores = _class_scores(probs, noise, self.penalty, free_classes=self.free_classes)
        return scores <= conformal_quantile(self.scores, level)


def aps(prediction: Any, y: Any, *, key: Array | None = None, noise: Any = None) -> PredictionSets:
    """Calibrate adaptive prediction sets.

    score(c) = sum of the probabilities of all classes at least as probable as c - u p_c

    Without key and noise, u = 0: the sets are a little larger than necessary. With u uniform on [0, 1], the coverage is
    within 1 / (n + 1) of the level, and some sets are empty.

    Args:
        prediction: for the calibration inputs: a `UQResult` of a classification, or probabilities [n, classes].
        y: calibration labels [n], integers, not used in training.
        key: a key of `jax.random.key`, to randomize.
        noise: the numbers u [n] in place of `key`.
    Returns:
        PredictionSets, whose `sets(prediction, level)` gives the sets of new inputs.
    Raises:
        ValueError, TypeError: the prediction, the labels or the noise is invalid.

    >>> probs = jnp.tile(jnp.array([[0.5, 0.3, 0.2]]), (19, 1))
    >>> labels = jnp.array([0] * 10 + [1] * 8 + [2])
    >>> aps(probs, labels).sets(probs[:1], level=0.9)
    Array([[ True,  True, False]], dtype=bool)
    """
    return _calibrated(prediction, y, 0.0, 1, key, noise)


def raps(
    prediction: Any, y: Any, *, penalty: float, free_classes: int, key: Array | None = None, noise: Any = None
) -> PredictionSets:
    """Calibrate regularized adaptive prediction sets.

    score(c) = score of `aps` + penalty * max(0, rank(c) - free_classes),  with rank 1 for the most probable class

    The penalty keeps improbable classes, whose order is mostly noise, out of the sets. The largest sets are smaller.
    The guarantee holds for every choice that does not depend on the calibration data; the paper takes 0.01 and 5 for
    the 1,000 classes of ImageNet.

    Args:
        prediction, y, key, noise: as in `aps`.
        penalty: penalty per class, a number of at least 0; lambda in the paper.
        free_classes: number of classes without a penalty; k_reg in the paper.
    Returns:
        PredictionSets, as from `aps`.
    Raises:
        ValueError, TypeError: as in `aps`, or `penalty` or `free_classes` is out of range.

    >>> probs = jnp.tile(jnp.array([[0.5, 0.3, 0.2]]), (19, 1))
    >>> labels = jnp.array([0] * 10 + [1] * 8 + [2])
    >>> float(raps(probs, labels, penalty=0.25, free_classes=1).scores.max())  # 1 + 0.25 * (3 - 1)
    1.5
    """
    check_finite_number("penalty", check_scalar("penalty", penalty))
    if not isinstance(penalty, Tracer) and penalty < 0:
        raise ValueError(expected("penalty", "to be at least 0", f"{penalty!r}"))
    return _calibrated(prediction, y, penalty, check_count("free_classes", free_classes), key, noise)


def _calibrated(prediction: Any, y: Any, penalty: Any, free_classes: int, key: Any, noise: Any) -> PredictionSets:
    probs = class_probs(prediction)
    labels = class_labels(y, probs)
    uniform = _uniform(probs, key, noise, _CALIBRATION)
    every = _class_scores(probs, uniform, penalty, free_classes=free_classes)
    scores = jnp.take_along_axis(every, labels[:, None], axis=1)[:, 0]
    randomized = key is not None or noise is not None
    return PredictionSets(checked_scores("prediction", scores), penalty, free_classes, randomized)


def _uniform(probs: Array, key: Array | None, noise: Any, tag: int) -> Array:
    """Return the numbers u per example, which are 0 without key and noise."""
    check_one_of("key and noise", key, noise)
    size = probs.shape[0]
    if key is not None:
        check_key(key)
        return jax.random.uniform(jax.random.fold_in(key, tag), (size,), probs.dtype)
    if noise is None:
        return jnp.zeros(size, probs.dtype)
    noise = at_least_float32(real_array("noise", noise))
    if noise.shape != (size,):
        raise ValueError(expected("noise", f"to have shape [{size}], one number per example", noise))
    if is_concrete(noise) and not ((np.asarray(noise) >= 0) & (np.asarray(noise) <= 1)).all():
        raise ValueError(expected("noise", "to be from 0 to 1", "other numbers among its entries"))
    return noise


@partial(jax.jit, static_argnames="free_classes")
def _class_scores(probs: Array, noise: Array, penalty: Any, *, free_classes: int) -> Array:
    """Compute the score of every class, [batch, classes]."""
    order = jnp.argsort(probs, axis=1, descending=True)
    ordered = jnp.take_along_axis(probs, order, axis=1)
    rank = jnp.arange(1, probs.shape[1] + 1)[None]
    # Rounding takes the sum of all probabilities beyond 1, and a quantile of 1 has to include every class.
    total = jnp.minimum(jnp.cumsum(ordered, axis=1), 1.0)
    score = total - noise[:, None] * ordered + penalty * jnp.maximum(rank - free_classes, 0)
    return jnp.take_along_axis(score, jnp.argsort(order, axis=1), axis=1)
