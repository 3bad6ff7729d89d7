"""Round up the number of rows, so that data of similar sizes share a program.

A compiled program is for one shape. So that the folds of a cross-validation share programs, training data get a few
rows of weight 0, and inputs of a prediction are cut into chunks of few sizes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.utils import check_array

from deepuq_jax._checks import expected

_LEAST_CHUNK, _LARGEST_CHUNK = 64, 2048
_LEAST_PADDING = 8


class WeightedRows(NamedTuple):
    """Rows of training data, some of which may have weight 0.

    Attributes:
        x: standardized inputs [rows, features].
        y: encoded targets [rows, ...].
        weight: weights [rows], not negative.
    """

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray

    def at(self, rows: np.ndarray) -> WeightedRows:
        """Select rows by their numbers."""
        return WeightedRows(self.x[rows], self.y[rows], self.weight[rows])

    def padded(self) -> WeightedRows:
        """Repeat the first rows with weight 0, so that similar sizes share a program.

        The ELBO stays the same: it sums weighted log-likelihoods and the KL, and such rows add nothing. Fewer than 8
        rows are added, or fewer than a thirty-second of the data if that is more.

        >>> rows = WeightedRows(np.ones((397, 2)), np.ones(397), np.ones(397)).padded()
        >>> rows.x.shape, float(rows.weight.sum())
        ((400, 2), 397.0)
        """
        size = len(self.weight)
        multiple = max(_LEAST_PADDING, 2 ** (size.bit_length() - 6))
        more = -size % multiple
        at = np.arange(size + more) % size
        return WeightedRows(self.x[at], self.y[at], np.where(np.arange(size + more) < size, self.weight[at], 0.0))

    def in_float(self) -> WeightedRows:
        """Convert inputs, real targets and weights to the float of JAX.

        It is float32, or float64 if JAX computes in double precision.
        """
        y = as_float(self.y) if np.issubdtype(self.y.dtype, np.floating) else self.y
        return WeightedRows(as_float(self.x), y, as_float(self.weight))


def weighted_rows(x: np.ndarray, y: np.ndarray, sample_weight: Any) -> WeightedRows:
    """Put data and weights together, without rows of weight 0.

    Args:
        x, y: checked data.
        sample_weight: weights [rows], or None for 1.
    Raises:
        ValueError: the weights have another shape, are negative or not finite, or are all 0.
    """
    if sample_weight is None:
        return WeightedRows(x, y, np.ones(len(x)))
    weight: Any = check_array(sample_weight, dtype="float64", ensure_2d=False, input_name="sample_weight")
    if weight.shape != (len(x),):
        raise ValueError(expected("sample_weight", f"of shape [{len(x)}], one weight per row", weight))
    if (weight < 0).any():
        raise ValueError(expected("sample_weight", "to be zero or above", f"{weight.min()} among its entries"))
    if not weight.any():
        raise ValueError("Expected sample_weight to have an entry above zero; got zeros alone.")
    return WeightedRows(x, y, weight).at(np.flatnonzero(weight))


def as_float(values: np.ndarray) -> np.ndarray:
    """Convert to the dtype in which JAX computes.

    Numbers beyond its range become infinite, which `fit` refuses.
    """
    with np.errstate(over="ignore"):
        return np.asarray(values, np.dtype(jnp.result_type(float)))


def chunks(x: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Cut inputs into chunks, filled up with zeros.

    Returns:
        (chunk, number of its rows that come from `x`) for each chunk. The sizes of chunks are powers of two.

    >>> [(chunk.shape, count) for chunk, count in chunks(np.ones((100, 3)))]
    [((128, 3), 100)]
    """
    size = min(_LARGEST_CHUNK, max(_LEAST_CHUNK, 2 ** (len(x) - 1).bit_length()))
    for start in range(0, len(x), size):
        part = x[start : start + size]
        yield np.concatenate([part, np.zeros((size - len(part), x.shape[1]), x.dtype)]), len(part)


def first_rows(tree: Any, count: int) -> Any:
    """Return the first rows of each array, as NumPy arrays."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:count], tree)
