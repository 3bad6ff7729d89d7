"""Predictions as a table of pandas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from deepuq_jax._checks import expected
from deepuq_jax.interop.fields import PER_EXAMPLE, check_names, named_fields

if TYPE_CHECKING:
    import pandas


def to_dataframe(
    result: Any, *, names: Sequence[str] | None = None, level: float | None = None, index: Any = None
) -> pandas.DataFrame:
    """Convert a prediction to a table with a row per example.

    Args:
        result: a `UQResult` whose mean has the shape [batch] or [batch, targets or classes].
        names: names of the targets or classes; the default is their numbers.
        level: probability of the central interval that is added as `lower` and `upper`, in regression.
        index: labels of the rows, such as the index of the inputs' own table.
    Returns:
        A DataFrame. The columns have the names of the result's fields; if there are several targets or classes, or they
        have names, the name of the target or class follows, as in `probs_setosa`. In classification these are `probs`,
        `probs_var`, `predictive_entropy` and `mutual_information` (nats), since `mean` is `probs`.
    Raises:
        TypeError: `result` is not a `UQResult`. ValueError: its arrays have more axes, the names or the index do not
            match, or it has no interval.
        ImportError: pandas is not installed.

    >>> import jax.numpy as jnp
    >>> from deepuq_jax import UQResult
    >>> to_dataframe(UQResult(mean=jnp.array([[1.0], [2.0]]), total_var=jnp.ones((2, 1))), level=0.5).round(2)
       mean  total_var  lower  upper
    0   1.0        1.0   0.33   1.67
    1   2.0        1.0   1.33   2.67
    """
    pandas = _pandas()
    columns: dict[str, np.ndarray] = {}
    for name, values in named_fields(result, level).items():
        values = np.asarray(values)
        if values.ndim not in (1, 2):
            what = "to have the shape [batch] or [batch, targets] (to_dataset takes any shape)"
            raise ValueError(expected(f"result.{name}", what, values))
        if name in PER_EXAMPLE or values.ndim == 1 or (values.shape[1] == 1 and names is None):
            columns[name] = values.reshape(len(values))
        else:
            labels = check_names(names, values.shape[1])
            columns |= {f"{name}_{label}": values[:, i] for i, label in enumerate(labels)}
    size = len(next(iter(columns.values())))
    if index is not None and len(index) != size:
        raise ValueError(expected("index", f"to have {size} labels, one per example", f"{len(index)}"))
    return pandas.DataFrame(columns, index=index)


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise ImportError("A table needs pandas: pip install 'deepuq-jax[interop]'.") from error
    return pandas
