"""The arrays of a result by name, without repetitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jax import Array

from deepuq_jax._checks import describe, expected
from deepuq_jax.types import UQResult

_REGRESSION = ("mean", "epistemic_var", "aleatoric_var", "total_var")
_CLASSIFICATION = ("probs", "probs_var", "predictive_entropy", "mutual_information")
# The fields without an axis of targets or classes.
PER_EXAMPLE = ("predictive_entropy", "mutual_information")


def named_fields(result: Any, level: float | None) -> dict[str, Array]:
    """Return the arrays of a result by name.

    In classification, `mean` is `probs`, and both variances are `probs_var`, so these are left out.

    Args:
        result: a `UQResult`.
        level: probability of the interval that is added as `lower` and `upper`, in regression; None adds none.
    Raises:
        TypeError: `result` is not a `UQResult`. ValueError: as `UQResult.interval`.

    >>> import jax.numpy as jnp
    >>> list(named_fields(UQResult(mean=jnp.zeros(2), total_var=jnp.ones(2)), 0.9))
    ['mean', 'total_var', 'lower', 'upper']
    """
    if not isinstance(result, UQResult):
        raise TypeError(expected("result", "to be a UQResult", describe(result)))
    fields: dict[str, Any] = {
        "mean": result.mean,
        "epistemic_var": result.epistemic_var,
        "aleatoric_var": result.aleatoric_var,
        "total_var": result.total_var,
        "probs": result.probs,
        "probs_var": result.probs_var,
        "predictive_entropy": result.predictive_entropy,
        "mutual_information": result.mutual_information,
    }
    names = _REGRESSION if result.probs is None else _CLASSIFICATION
    found = {name: fields[name] for name in names if fields[name] is not None}
    if level is not None:
        found["lower"], found["upper"] = result.interval(level)
    return found


def check_names(names: Any, size: int) -> list[Any]:
    """Return the names of the targets or classes; by default their numbers."""
    if names is None:
        return list(range(size))
    if isinstance(names, str) or not isinstance(names, Sequence) or len(names) != size or len(set(names)) != size:
        raise ValueError(expected("names", f"to be {size} different names, of the targets or classes", f"{names!r}"))
    return list(names)
