"""Polynomials and their ratios, as plain arithmetic that XLA fuses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jax import Array


def polynomial(coefficients: Sequence[float], x: Array) -> Array:
    """Evaluate a polynomial by Horner's rule.

    Unlike `jnp.polyval`, it is no loop, so it traces faster, and works on arrays with explicit sharding.

    Args:
        coefficients: lowest power first, at least two of them.
        x: float32, of any shape.

    >>> import jax.numpy as jnp
    >>> polynomial((1.0, 0.0, 2.0), jnp.float32(3.0))
    Array(19., dtype=float32)
    """
    *lower, last, highest = [np.float32(coefficient) for coefficient in coefficients]
    value = x * highest + last
    for coefficient in reversed(lower):
        value = value * x + coefficient
    return value
