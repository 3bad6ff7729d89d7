"""Proper scores per example, which are lower for better predictions.

The mean over a data set is the score of the data set.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import check_flag, expected
from deepuq_jax._inputs import real_array
from deepuq_jax.functional.gaussian import HALF_LOG_2PI, at_least_float32
from deepuq_jax.functional.likelihood import nll_up_to_constant, sum_per_example
from deepuq_jax.metrics.predictions import class_labels, class_probs, gaussian_moments, is_classification, real_targets
from deepuq_jax.types import UQResult


def negative_log_likelihood(prediction: Any, y: Any) -> Array:
    """Negative log-likelihood of the targets given a prediction.

    classification: -log probs[y];  regression: -sum_d log N(y_d; mean_d, total_var_d)

    In classification without class weights and label smoothing, this equals `-log_predictive_density` of the same
    draws, except for labels whose probability has underflowed: they score infinity here. In regression with a Gaussian
    likelihood it scores a single Gaussian with the predictive moments. `log_predictive_density` scores the mixture over
    draws instead, which is the test log-likelihood of the literature. With another likelihood (counts, heavy tails, one
    of your own) the result holds this mixture, and the score is -log (1/S) sum_s p(y | outputs_s).

    Args:
        prediction: a `UQResult`, probabilities [batch, classes], or a pair (mean, var), each [batch, ...].
        y: integer labels [batch], or real targets or counts of the shape of the mean.
    Returns:
        score in nats, [batch].
    Raises:
        ValueError, TypeError: the shapes do not match, the labels are not integers, or a regression result has no
            variance.

    >>> negative_log_likelihood(jnp.array([[0.5, 0.5]]), jnp.array([0]))
    Array([0.6931...], dtype=float32)
    """
    if is_classification(prediction):
        probs = class_probs(prediction)
        return -jnp.log(jnp.take_along_axis(probs, class_labels(y, probs)[:, None], axis=1)[:, 0])
    if isinstance(prediction, UQResult) and prediction.mixture is not None:
        return -prediction.mixture.log_prob(y)
    mean, var = gaussian_moments(prediction)
    return sum_per_example(nll_up_to_constant(real_targets(y, mean) - mean, var) + HALF_LOG_2PI)


def brier_score(prediction: Any, y: Any) -> Array:
    """Brier score: squared distance of class probabilities from the label.

    It is sum_c (probs_c - [y = c])^2, from 0 to 2. For two classes it is twice the score of a single class's
    probability.

    Args:
        prediction: `UQResult` of a classification, or probabilities [batch, classes].
        y: integer labels [batch].
    Returns:
        score, [batch].
    Source: Brier 1950.

    >>> brier_score(jnp.array([[0.5, 0.5], [1.0, 0.0]]), jnp.array([0, 1]))
    Array([0.5, 2. ], dtype=float32)
    """
    probs = class_probs(prediction)
    label = jax.nn.one_hot(class_labels(y, probs), probs.shape[1], dtype=probs.dtype)
    return jnp.sum(jnp.square(probs - label), axis=1)


def crps(prediction: Any, y: Any) -> Array:
    """Continuous ranked probability score of a Gaussian prediction.

    s (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)),  z = (y - mean) / s,  s = sqrt(total_var)

    A prediction with variance 0 is a point mass, whose score is |y - mean|. A result whose likelihood is not Gaussian
    is refused: `crps_from_draws` scores draws of its `mixture`.

    Args:
        prediction: `UQResult` of a regression, or a pair (mean, var).
        y: real targets of the shape of the mean.
    Returns:
        score, of the shape of `y` and in units of `y`.
    Source: Gneiting & Raftery 2007, section 4.2.

    >>> crps((jnp.zeros(1), jnp.ones(1)), jnp.zeros(1))
    Array([0.2336...], dtype=float32)
    """
    mean, var = gaussian_moments(prediction)
    distance = real_targets(y, mean) - mean
    # The inner selection keeps the gradient finite at a variance of 0.
    s = jnp.sqrt(jnp.where(var > 0, var, 1.0))
    z = distance / s
    inside = jax.lax.erf(z / math.sqrt(2.0))  # 2 Phi(z) - 1, without cancellation
    density = jnp.exp(-0.5 * jnp.square(z)) / math.sqrt(2 * math.pi)
    return jnp.where(var > 0, s * (z * inside + 2 * density - 1 / math.sqrt(math.pi)), jnp.abs(distance))


def crps_from_draws(draws: Any, y: Any, *, fair: bool = False) -> Array:
    """Continuous ranked probability score of predictive draws.

    mean_s |x_s - y| - 1/2 mean_st |x_s - x_t|

    Sorting gives sum_st |x_s - x_t| = 2 sum_s (2 s - S - 1) x_(s) for S draws in S log S time. By default this is the
    exact score of the empirical distribution of the draws, whose mean grows as the number of draws falls. With `fair`,
    the second sum is divided by S (S - 1) instead of S^2, and the score is unbiased for the distribution that the draws
    come from.

    Args:
        draws: draws of targets, with their noise (not draws of means), [draws, ...].
        y: real targets, of the shape of a draw.
        fair: compute the unbiased score, which needs at least two draws.
    Returns:
        score, of the shape of `y` and in units of `y`.
    Raises:
        ValueError: the shapes do not match, there is no draw, or `fair` is set and there is a single draw.
    Source: Gneiting & Raftery 2007, equation 21; fair: Ferro 2014.

    >>> crps_from_draws(jnp.array([[1.0], [3.0]]), jnp.array([2.0]))
    Array([0.5], dtype=float32)
    """
    draws, y, fair = at_least_float32(real_array("draws", draws)), real_array("y", y), check_flag("fair", fair)
    if draws.ndim < 1 or draws.shape[1:] != y.shape:
        raise ValueError(expected("y", f"of the shape of a draw, {list(draws.shape[1:])}", y))
    size = draws.shape[0]
    if size < 1 + fair:
        raise ValueError(expected("draws", f"to hold at least {1 + fair}", f"{size}"))
    # The draws are taken relative to the target, since sums of draws around 100 would lose a spread of 0.01. The
    # weights below sum to 0, so the shift does not change the result.
    ordered = jnp.sort(draws - y.astype(draws.dtype)[None], axis=0)
    weights = 2 * jnp.arange(1, size + 1, dtype=draws.dtype) - size - 1
    pairs = size * (size - 1) if fair else size * size
    return jnp.mean(jnp.abs(ordered), axis=0) - jnp.tensordot(weights / pairs, ordered, axes=1, precision="highest")
