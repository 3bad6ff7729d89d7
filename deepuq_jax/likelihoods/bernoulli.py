"""Likelihood of labels 0 and 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._arguments import real_arrays
from deepuq_jax._checks import check_range, expected, is_concrete, nan_outside
from deepuq_jax.functional.gaussian import at_least_float32
from deepuq_jax.functional.likelihood import check_target_shape
from deepuq_jax.likelihoods.base import FactorizedLikelihood, Task


@dataclass(frozen=True)
class Bernoulli(FactorizedLikelihood):
    """Likelihood of labels 0 and 1, given one logit per label.

    log p(y = 1 | outputs) = log sigmoid(outputs)

    - Outputs [batch, 1] or [batch] go with labels [batch]. A prediction holds probabilities [batch, 2] and entropies
      [batch], as for two classes.
    - Outputs [batch, d] go with d independent labels [batch, d]. A prediction holds probabilities [batch, d, 2] and
      entropies [batch, d], one per label.

    >>> probs, _ = Bernoulli().moments(jnp.zeros((4, 1)))
    >>> probs.shape, float(probs[0, 1])
    ((4, 2), 0.5)
    """

    task: ClassVar[Task] = "classification"
    is_discrete = True

    @real_arrays("outputs", "y", broadcast=False, min_axes=1)
    def log_prob_per_target(self, outputs: Array, y: Any) -> Array:
        """Log probability of each label in nats, of the shape of `y`."""
        logits = _logits(outputs)
        y = y if is_concrete(y) else jnp.asarray(y)
        if not (jnp.issubdtype(y.dtype, jnp.integer) or y.dtype == bool):
            raise TypeError(expected("y", "to be integer or bool labels 0 and 1", y))
        check_target_shape(y, logits.shape)
        check_range("y", "labels", y.astype(int), 2)
        found = jax.nn.log_sigmoid(jnp.where(jnp.asarray(y) > 0, logits, -logits))
        # Inside `jit` the range cannot be checked, and any label above 0 would count as 1.
        return nan_outside(y, 2, found)

    @real_arrays("outputs", min_axes=1)
    def moments(self, outputs: Array) -> tuple[Array, None]:
        """Probabilities of the labels 0 and 1 in a last axis, and None for a variance."""
        logits = _logits(outputs)
        return jnp.stack([jax.nn.sigmoid(-logits), jax.nn.sigmoid(logits)], axis=-1), None


def _logits(outputs: Array) -> Array:
    """Return one logit per label; an axis of size 1 after the batch is dropped."""
    logits = at_least_float32(outputs)
    return logits[:, 0] if logits.ndim == 2 and logits.shape[1] == 1 else logits
