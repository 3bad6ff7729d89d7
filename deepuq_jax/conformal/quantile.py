"""The quantile of calibration scores for a finite sample."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from deepuq_jax._arguments import check_axes
from deepuq_jax._checks import check_scalar, check_some, expected, is_concrete
from deepuq_jax._inputs import real_array
from deepuq_jax.functional.gaussian import at_least_float32
from deepuq_jax.types import check_level


def conformal_quantile(scores: Any, level: float = 0.9) -> Array:
    """Compute the quantile of scores that bounds a new score.

    It is the k-th smallest of the n scores, with k = ceil((n + 1) level). A new score that is exchangeable with them is
    at most as large with probability at least `level`, and less than level + 1 / (n + 1) if no two scores are equal.

    Args:
        scores: calibration scores, [n, ...]; the quantile is over the first axis.
        level: probability, a Python number between 0 and 1.
    Returns:
        quantile, [...].
    Raises:
        ValueError: `level` is outside (0, 1), a score is NaN, or there are too few scores for the level: 9 are needed
            for 0.9, 19 for 0.95 and 99 for 0.99. TypeError: `level` is traced.

    >>> float(conformal_quantile(jnp.arange(1.0, 20.0), level=0.9))  # the 18th of 19
    18.0
    """
    scores = checked_scores("scores", scores)
    return jnp.sort(scores, axis=0)[_rank(scores.shape[0], level) - 1]


def checked_scores(name: str, scores: Any) -> Array:
    """Require one score or more, in at least float32."""
    scores = at_least_float32(real_array(name, scores))
    check_axes(name, scores, 1)
    check_some(name, scores)
    if is_concrete(scores) and np.isnan(scores).any():
        raise ValueError(expected(name, "to be without NaN", "NaN among its entries"))
    return scores


def _rank(n: int, level: Any) -> int:
    """Compute ceil((n + 1) level) from the decimal digits of the level, without rounding errors."""
    if isinstance(check_scalar("level", level), Tracer):
        raise TypeError(expected("level", "to be a Python number, which decides a rank", level))
    check_level(level)
    share = Fraction(str(float(level)))
    rank = math.ceil(share * (n + 1))
    if rank > n:
        needed = math.ceil(share / (1 - share))
        raise ValueError(expected("calibration data", f"of at least {needed} examples for level {level}", f"{n}"))
    return rank
