"""A likelihood with missing targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from deepuq_jax._checks import expected, is_concrete
from deepuq_jax.likelihoods._wrapper import PairedLikelihood


@dataclass(frozen=True)
class Masked(PairedLikelihood):
    """A likelihood whose targets are a pair (y, mask).

    A target whose mask is False adds nothing. Its value can be any finite number: the likelihood sees a 1 in its place,
    which is a valid target of every likelihood here. The mask is bool, of shape [batch] or of the shape of `y`.

    In an objective, `num_data` counts all rows, including rows without a target.

    Args:
        likelihood: a likelihood of the targets `y`.

    >>> from deepuq_jax.likelihoods import Gaussian
    >>> y, mask = jnp.array([[0.0], [9.0]]), jnp.array([True, False])
    >>> Masked(Gaussian(1.0))(jnp.zeros((2, 1)), (y, mask))
    Array([-0.9189...,  0.        ], dtype=float32)
    """

    def apply(self, log_probs: Array, factor: Any) -> Array:
        """Keep the log-probabilities whose mask is True."""
        return jnp.where(jnp.asarray(factor), log_probs, 0.0)

    def fill(self, targets: Any, factor: Any) -> Any:
        """Replace the targets whose mask is False by 1."""
        if not hasattr(factor, "dtype") or factor.dtype != bool:
            raise TypeError(expected("the mask in y", "to be a bool array", factor))
        ones = (1,) * (jnp.ndim(targets) - jnp.ndim(factor))
        if is_concrete(targets) and is_concrete(factor):  # NumPy keeps them concrete for the checks of the targets.
            mask = np.asarray(factor).reshape(*factor.shape, *ones)
            return np.where(mask, np.asarray(targets), np.ones((), targets.dtype))
        mask = jnp.asarray(factor).reshape(*factor.shape, *ones)
        return jnp.where(mask, targets, jnp.ones((), jnp.asarray(targets).dtype))
