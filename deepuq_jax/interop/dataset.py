"""Predictions as a data set of xarray."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from deepuq_jax.interop.fields import PER_EXAMPLE, check_names, named_fields

if TYPE_CHECKING:
    import xarray


def to_dataset(
    result: Any, *, names: Sequence[str] | None = None, level: float | None = None, index: Any = None
) -> xarray.Dataset:
    """Convert a prediction to a data set with named axes.

    Args:
        result: a `UQResult` of any shape.
        names: names of the targets or classes, which become the coordinates of their axis; the default is their
            numbers.
        level: probability of the central interval that is added as `lower` and `upper`, in regression.
        index: coordinates of the examples, [batch]; the default is their numbers.
    Returns:
        A Dataset with the variables of `to_dataframe` and the result's metadata as attributes. The axes are `example`,
        then `class` or `target`, then `axis_2` and so on. The entropies have the attribute `units`: "nats".
    Raises:
        TypeError: `result` is not a `UQResult`. ValueError: the names or the index do not match, or the result has no
            interval.
        ImportError: xarray is not installed.

    >>> import jax.numpy as jnp
    >>> from deepuq_jax import UQResult
    >>> probs = jnp.array([[0.9, 0.1], [0.4, 0.6]])
    >>> data = to_dataset(UQResult(mean=probs, probs=probs), names=["cat", "dog"])
    >>> round(float(data.probs.sel({"example": 1, "class": "dog"})), 2), dict(data.sizes)
    (0.6, {'example': 2, 'class': 2})
    """
    xarray = import_xarray()
    fields = {name: np.asarray(values) for name, values in named_fields(result, level).items()}
    second = "target" if result.probs is None else "class"
    first = next(iter(fields.values()))
    coordinates: dict[str, Any] = {"example": np.arange(len(first)) if index is None else np.asarray(index)}
    if coordinates["example"].shape != (len(first),):
        raise ValueError(f"Expected index of shape [{len(first)}]; got {list(coordinates['example'].shape)}.")
    if first.ndim > 1:
        coordinates[second] = check_names(names, first.shape[1])
    variables = {}
    for name, values in fields.items():
        axes = ["example", second, *(f"axis_{i}" for i in range(2, values.ndim))][: values.ndim]
        variables[name] = (axes, values, {"units": "nats"} if name in PER_EXAMPLE else {})
    return xarray.Dataset(variables, coordinates, dict(result.metadata))


def import_xarray() -> Any:
    """Import xarray, or say how to install it."""
    try:
        import xarray
    except ImportError as error:
        raise ImportError("A data set needs xarray: pip install 'deepuq-jax[interop]'.") from error
    return xarray
