"""A warning about data far from the scale that suits networks and priors."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import numpy as np

from deepuq_jax.likelihoods.base import Likelihood

# An input feature or a target with a root mean square above LARGE is far from standard scale, and so is a target with a
# standard deviation below SMALL. (A feature may be nearly constant.)
LARGE, SMALL = 10.0, 0.01


class ScaleWarning(UserWarning):
    """Data are far from mean 0 and standard deviation 1."""


def warn_of_scale(x: Any, y: Any, likelihood: Likelihood | None) -> None:
    """Warn once if inputs or real targets are far from standard scale.

    The rule is a root mean square above 10 for an input feature or a target, or a standard deviation below 0.01 for a
    target that is not constant.
    """
    found = []
    for leaf in jax.tree.leaves(x):
        rms = _root_mean_squares(leaf)
        if rms.size and rms.max() > LARGE:
            found.append(f"an input feature has a root mean square of {rms.max():.3g}")
            break
    if likelihood is not None and likelihood.is_real and hasattr(y, "dtype"):
        rms, std = _root_mean_squares(y), np.asarray(y, np.float64).std(axis=0)
        if rms.size and rms.max() > LARGE:
            found.append(f"a target has a root mean square of {rms.max():.3g}")
        elif ((std > 0) & (std < SMALL)).any():
            found.append(f"a target has a standard deviation of {std[std > 0].min():.3g}")
    if found:
        message = f"The data are far from mean 0 and standard deviation 1: {' and '.join(found)}. "
        warnings.warn(message + "Wrap the model: dq.Standardized(model, x, y).", ScaleWarning, stacklevel=3)


def _root_mean_squares(leaf: Any) -> np.ndarray:
    """Root mean squares over all axes but the last; none for integers."""
    values = np.asarray(leaf)
    if not np.issubdtype(values.dtype, np.floating):
        return np.zeros(0)
    axes = tuple(range(values.ndim - 1)) if values.ndim > 1 else None
    return np.atleast_1d(np.sqrt(np.mean(np.square(values, dtype=np.float64), axis=axes)))
