"""Labels under logits."""

from __future__ import annotations

from dataclasses import dataclass

import jax
from jax import Array

from deepuq_jax.functional.gaussian import at_least_float32
from deepuq_jax.functional.likelihood import categorical_log_likelihood
from deepuq_jax.likelihoods.base import Likelihood


@dataclass(frozen=True)
class Categorical(Likelihood):
    """Integer labels under logits [batch, classes]: log p(y | outputs) = log softmax(outputs)[y].

    >>> import jax.numpy as jnp
    >>> Categorical()(jnp.zeros((1, 2)), jnp.array([0]))
    Array([-0.6931...], dtype=float32)
    """

    task = "classification"

    def log_prob(self, outputs: Array, y: Array) -> Array:
        """Log-probability of the labels [batch], nats."""
        return categorical_log_likelihood(outputs, y)

    def moments(self, outputs: Array) -> tuple[Array, None]:
        """Class probabilities [batch, classes]; labels have no variance beside them."""
        return jax.nn.softmax(at_least_float32(outputs), axis=-1), None
