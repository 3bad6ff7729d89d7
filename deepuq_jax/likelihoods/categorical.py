"""Likelihood of integer labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import jax
import numpy as np
from jax import Array

from deepuq_jax._arguments import real_arrays
from deepuq_jax._checks import check_finite_number, check_scalar, expected
from deepuq_jax.functional.gaussian import at_least_float32
from deepuq_jax.functional.likelihood import categorical_log_probs, check_logits
from deepuq_jax.likelihoods.base import FactorizedLikelihood, Task
from deepuq_jax.likelihoods.gaussian import positive_number


@dataclass(frozen=True)
class Categorical(FactorizedLikelihood):
    """Likelihood of integer labels, given logits.

    log p(y | outputs) = sum_c w_c ((1 - e) [y = c] + e / classes) log softmax(outputs)[c]

    The outputs are [batch, classes], with at least two classes; `Bernoulli` takes one logit per example. Class weights
    w and label smoothing e change the log-probability alone: predictions hold softmax(outputs).

    Args:
        class_weights: a positive number per class, or None for 1. Without label smoothing, a weight of 2 counts each
            example of the class twice.
        label_smoothing: the share e of the label that is spread over all classes, in [0, 1).
    Raises:
        TypeError, ValueError: a weight is not positive and finite, or the smoothing is outside [0, 1).

    >>> import jax.numpy as jnp
    >>> Categorical()(jnp.zeros((1, 2)), jnp.array([0]))
    Array([-0.6931...], dtype=float32)
    """

    class_weights: Sequence[float] | None = None
    label_smoothing: float = 0.0
    task: ClassVar[Task] = "classification"
    is_discrete = True

    def __post_init__(self) -> None:
        if self.class_weights is not None:
            if isinstance(self.class_weights, jax.Array) or not np.iterable(self.class_weights):
                raise TypeError(expected("class_weights", "to be a tuple of numbers", self.class_weights))
            weights = tuple(positive_number(f"class_weights[{i}]", w) for i, w in enumerate(self.class_weights))
            object.__setattr__(self, "class_weights", weights)
        check_finite_number("label_smoothing", check_scalar("label_smoothing", self.label_smoothing))
        if not 0.0 <= self.label_smoothing < 1.0:
            raise ValueError(expected("label_smoothing", "to be from 0 to below 1", f"{self.label_smoothing}"))

    @real_arrays("outputs", "y", broadcast=False, min_axes=1)
    def log_prob_per_target(self, outputs: Array, y: Array) -> Array:
        """Log probability of each label in nats, of the shape of `y`."""
        return categorical_log_probs(outputs, y, self._shares(outputs))

    def _shares(self, outputs: Array) -> np.ndarray | None:
        """Return the weight of each log probability per label, or None for plain labels."""
        if self.class_weights is None and not self.label_smoothing:
            return None
        check_logits(outputs)
        classes = outputs.shape[-1]
        weights = (1.0,) * classes if self.class_weights is None else self.class_weights
        if len(weights) != classes:
            what = f"to hold a number for each of the {classes} classes"
            raise ValueError(expected("class_weights", what, f"{len(weights)}"))
        smooth = (1.0 - self.label_smoothing) * np.eye(classes) + self.label_smoothing / classes
        return smooth * np.asarray(weights)

    @real_arrays("outputs", min_axes=1)
    def moments(self, outputs: Array) -> tuple[Array, None]:
        """Class probabilities [batch, classes], and None for a variance."""
        check_logits(outputs)
        return jax.nn.softmax(at_least_float32(outputs), axis=-1), None
