"""A likelihood with a weight per example or per target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jax import Array

from deepuq_jax._checks import expected, is_concrete
from deepuq_jax.functional.gaussian import at_least_float32
from deepuq_jax.likelihoods._wrapper import PairedLikelihood


@dataclass(frozen=True)
class Weighted(PairedLikelihood):
    """A likelihood whose targets are a pair (y, weight).

    The weight multiplies the log-probability: a weight of 2 counts an example twice. The weights are not negative, of
    shape [batch] or of the shape of `y`.

    In an objective, `num_data` is the number of rows, not the sum of the weights. `log_predictive_density` and the
    validation score of `fit` raise each draw's density to the power of the weight, so score held-out data by the inner
    likelihood and plain targets.

    Args:
        likelihood: a likelihood of the targets `y`.

    >>> import jax.numpy as jnp
    >>> from deepuq_jax.likelihoods import Gaussian
    >>> y, weight = jnp.zeros((2, 1)), jnp.array([1.0, 2.0])
    >>> Weighted(Gaussian(1.0))(jnp.zeros((2, 1)), (y, weight))
    Array([-0.9189..., -1.8378...], dtype=float32)
    """

    def apply(self, log_probs: Array, factor: Any) -> Array:
        """Multiply the log-probabilities by the weights."""
        if is_concrete(factor) and not (np.asarray(factor) >= 0).all():
            low = np.asarray(factor).min()
            raise ValueError(expected("the weights in y", "to be zero or above", f"{low} among them"))
        return log_probs * at_least_float32(factor).astype(log_probs.dtype)
