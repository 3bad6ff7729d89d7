"""Likelihood of integer labels."""

from __future__ import annotations

from dataclasses import dataclass

import jax
from jax import Array

from deepuq_jax.functional.gaussian import at_least_float32
from deepuq_jax.functional.likelihood import categorical_log_likelihood
from deepuq_jax.likelihoods.base import Likelihood


@dataclass(frozen=True)
class Categorical(Likelihood):
    """Likelihood of integer labels, given logits.

    log p(y | outputs) = log softmax(outputs)[y], with outputs [batch, classes].

    >>> import jax.numpy as jnp
    >>> Categorical()(jnp.zeros((1, 2)), jnp.array([0]))
    Array([-0.6931...], dtype=float32)
    """

    task = "classification"

    def log_prob(self, outputs: Array, y: Array) -> Array:
        """Log probability of the labels in nats, [batch]."""
        return categorical_log_likelihood(outputs, y)

    def moments(self, outputs: Array) -> tuple[Array, None]:
        """Class probabilities [batch, classes], and None for a variance."""
        return jax.nn.softmax(at_least_float32(outputs), axis=-1), None
