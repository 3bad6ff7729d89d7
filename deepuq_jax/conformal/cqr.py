"""Conformalized quantile regression.

Source: Romano, Patterson & Candes 2019, Conformalized Quantile Regression, arXiv 1905.03222.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import Array

from deepuq_jax._arguments import check_axes
from deepuq_jax._checks import expected
from deepuq_jax._inputs import real_array
from deepuq_jax._pytree import register
from deepuq_jax.conformal.quantile import checked_scores, conformal_quantile
from deepuq_jax.functional.gaussian import at_least_float32
from deepuq_jax.metrics.predictions import real_targets


@register()
@dataclass(frozen=True)
class QuantileIntervals:
    """Calibrated intervals between two quantiles, from `cqr`.

    Attributes:
        scores: calibration scores, [n, ...].
    """

    scores: Array

    def interval(self, bounds: tuple[Any, Any], level: float = 0.9) -> tuple[Array, Array]:
        """Move bounds so that they contain the target with probability `level`.

        The result is (lower - q, upper + q) with q = conformal_quantile(scores, level). A negative q narrows the
        interval. If it is narrower than 2 |q|, the result is empty, with its lower bound above its upper bound.

        Args:
            bounds: (lower, upper) for new inputs, computed as those passed to `cqr`.
            level: probability, a Python number between 0 and 1.
        Returns:
            (lower, upper), each of the shape of the bounds.
        """
        lower, upper = _bounds(bounds)
        if lower.shape[1:] != self.scores.shape[1:]:
            what = f"of targets as in calibration, [batch{''.join(f', {n}' for n in self.scores.shape[1:])}]"
            raise ValueError(expected("bounds", what, lower))
        q = conformal_quantile(self.scores, level)[None]
        return lower - q, upper + q


def cqr(bounds: tuple[Any, Any], y: Any) -> QuantileIntervals:
    """Calibrate predicted intervals.

    The scores are max(lower - y, y - upper): how far the target is outside of the interval, or, as a negative number,
    how far inside.

    Args:
        bounds: (lower, upper) for the calibration inputs, of the shape of `y`: the `interval(level)` of a `UQResult`,
            or quantiles of any other kind. A level near the level of the final intervals serves best.
        y: calibration targets [n, ...], not used in training. Each of several targets is calibrated on its own.
    Returns:
        QuantileIntervals, whose `interval(bounds, level)` gives the intervals of new inputs.
    Raises:
        ValueError, TypeError: the shapes do not match, or `bounds` is not a pair.

    >>> y = jnp.arange(1.0, 20.0)
    >>> calibrated = cqr((jnp.zeros(19), jnp.full(19, 16.0)), y)
    >>> [float(bound[0]) for bound in calibrated.interval((jnp.zeros(1), jnp.full(1, 16.0)), level=0.9)]
    [-2.0, 18.0]
    """
    lower, upper = _bounds(bounds)
    y = real_targets(y, lower)
    return QuantileIntervals(checked_scores("bounds and y", jnp.maximum(lower - y, y - upper)))


def _bounds(bounds: Any) -> tuple[Array, Array]:
    if not isinstance(bounds, tuple) or len(bounds) != 2:
        raise TypeError(expected("bounds", "to be a pair (lower, upper), as interval() of a UQResult returns", bounds))
    lower, upper = (at_least_float32(real_array("bounds", bound)) for bound in bounds)
    check_axes("bounds", lower, 1)
    if lower.shape != upper.shape:
        raise ValueError(expected("bounds", f"to have one shape, {list(lower.shape)}", upper))
    return lower, upper
