"""Conversion of predictions to checked arrays."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array

from deepuq_jax._arguments import check_at_least_zero, check_probabilities
from deepuq_jax._checks import check_range, check_real, check_some, expected
from deepuq_jax._inputs import real_array
from deepuq_jax.functional.gaussian import at_least_float32
from deepuq_jax.functional.likelihood import sum_per_example
from deepuq_jax.functional.moments import entropy_of_probs
from deepuq_jax.types import UQResult


def is_classification(prediction: Any) -> bool:
    """Whether a prediction is a classification.

    It is if it is a result with `probs` or an array of probabilities.
    """
    if isinstance(prediction, UQResult):
        return prediction.probs is not None
    return not isinstance(prediction, tuple)


def class_probs(prediction: Any) -> Array:
    """Extract class probabilities [batch, classes].

    Args:
        prediction: `UQResult` of a classification, or the probabilities.
    """
    probs: Any = prediction.probs if isinstance(prediction, UQResult) else prediction
    if probs is None:
        raise ValueError("Expected prediction to be a classification result, with probs; got a result without.")
    if not hasattr(probs, "shape"):
        raise TypeError(expected("prediction", "to be a UQResult or probabilities [batch, classes]", prediction))
    probs = real_array("prediction", probs)
    if probs.ndim != 2:
        raise ValueError(expected("prediction", "to be probabilities [batch, classes]", probs))
    if probs.shape[1] < 2:
        raise ValueError(expected("prediction", "to hold probabilities of at least two classes", probs))
    check_some("prediction", probs)
    check_probabilities("prediction", probs)
    return at_least_float32(probs)


def class_labels(y: Any, probs: Array) -> Array:
    """Check integer labels [batch]."""
    if not hasattr(y, "dtype") or not jnp.issubdtype(y.dtype, jnp.integer):
        raise TypeError(expected("y", "to be integer labels [batch]", y))
    if y.shape != probs.shape[:1]:
        raise ValueError(expected("y", f"to have shape [{probs.shape[0]}], one label per prediction", y))
    check_range("y", "labels", y, probs.shape[1])
    return jnp.asarray(check_real("y", y))


def gaussian_moments(prediction: Any) -> tuple[Array, Array]:
    """Extract the mean and the total variance.

    Args:
        prediction: `UQResult` of a regression, or the pair (mean, var).
    """
    if isinstance(prediction, UQResult):
        if prediction.probs is not None or prediction.total_var is None:
            raise ValueError("Expected a regression result, with a total_var; got another result.")
        if prediction.mixture is not None:
            message = "Expected a Gaussian prediction; got a prediction of a likelihood that is not Gaussian."
            raise ValueError(f"{message} Score draws of it: crps_from_draws(result.mixture.sample(key=key), y).")
        pair: Any = (prediction.mean, prediction.total_var)
    else:
        pair = prediction
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise TypeError(expected("prediction", "to be a UQResult or a pair (mean, var)", prediction))
    mean, var = (at_least_float32(real_array(name, part)) for name, part in zip(("mean", "var"), pair, strict=True))
    if mean.shape != var.shape:
        raise ValueError(expected("var", f"of the shape of the mean, {list(mean.shape)}", var))
    check_at_least_zero("var", var)
    return mean, var


def real_targets(y: Any, mean: Array) -> Array:
    """Check that targets have the shape of the mean.

    Without this check, targets [B] and a mean [B, 1] would silently broadcast to [B, B].
    """
    y = real_array("y", y)
    if y.shape != mean.shape:
        message = expected("y", f"of the shape of the mean, {list(mean.shape)}", y)
        raise ValueError(f"{message} Use y[..., None]." if (*y.shape, 1) == mean.shape else message)
    return at_least_float32(y).astype(mean.dtype)


def uncertainty(prediction: Any, name: str = "scores") -> Array:
    """Extract an uncertainty score per example, [batch].

    Scores are higher for examples of which the model is less sure. The score of a `UQResult` is the predictive entropy
    in classification and the epistemic variance, summed over targets, in regression: this part of the variance usually
    grows away from the data. Plain scores are returned as they are.
    """
    if not isinstance(prediction, UQResult):
        scores = at_least_float32(real_array(name, prediction))
        if scores.ndim != 1:
            raise ValueError(expected(name, "to be a UQResult or to have shape [batch]", scores))
        return scores
    if prediction.predictive_entropy is not None:
        return jnp.asarray(prediction.predictive_entropy)
    if prediction.probs is not None:
        return entropy_of_probs(jnp.asarray(prediction.probs))
    if prediction.epistemic_var is None:
        raise ValueError("Expected a result with an epistemic_var or probs; got a result without.")
    return sum_per_example(at_least_float32(jnp.asarray(prediction.epistemic_var)))
