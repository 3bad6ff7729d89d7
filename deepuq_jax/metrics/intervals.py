"""Coverage and width of predictive intervals."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import check_some
from deepuq_jax.metrics.predictions import gaussian_moments, real_targets
from deepuq_jax.types import UQResult


def _interval(prediction: Any, level: Any) -> tuple[Array, Array, Array]:
    """Return the mean and both ends of its central interval."""
    if isinstance(prediction, UQResult) and prediction.mixture is not None:
        return prediction.mean, *prediction.interval(level)
    mean, var = gaussian_moments(prediction)
    check_some("prediction", mean)
    return mean, *UQResult(mean=mean, total_var=var).interval(level)


def interval_coverage(prediction: Any, y: Any, *, level: Any = 0.95) -> Array:
    """Share of the targets inside their central intervals.

    The share has the mean `level` for a calibrated model, and a mean of at least `level` for counts, whose intervals
    end at whole numbers.

    Args:
        prediction: `UQResult` of a regression, with its own intervals, or a pair (mean, var) of Gaussians.
        y: real targets or counts of the shape of the mean.
        level: probability inside the interval, between 0 and 1.
    Returns:
        A scalar from 0 to 1, over every target.
    Raises:
        ValueError, TypeError: the shapes do not match, `level` is outside (0, 1), or the result has no variance.

    >>> y = jnp.array([0.0, 1.0, -1.5, 3.0])
    >>> interval_coverage((jnp.zeros(4), jnp.ones(4)), y, level=0.95)
    Array(0.75, dtype=float32)
    """
    mean, lower, upper = _interval(prediction, level)
    y = real_targets(y, mean)
    return jnp.mean((lower <= y) & (y <= upper))


def interval_width(prediction: Any, *, level: Any = 0.95) -> Array:
    """Mean width of the central intervals.

    It measures sharpness. Compare it between models of equal coverage.

    Args:
        prediction, level: as in `interval_coverage`.
    Returns:
        A scalar, in units of the targets.

    >>> round(float(interval_width((jnp.zeros(4), jnp.ones(4)), level=0.95)), 2)
    3.92
    """
    _, lower, upper = _interval(prediction, level)
    return jnp.mean(upper - lower)
