"""The order of the axes of an array in a file."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Layout(Protocol):
    """How an array of the model is laid out in the file."""

    def to_file(self, array: np.ndarray) -> np.ndarray:
        """Return the array of the file."""
        ...

    def from_file(self, array: np.ndarray) -> np.ndarray:
        """Return the array of the model."""
        ...


class _AsIs:
    def to_file(self, array: np.ndarray) -> np.ndarray:
        return array

    def from_file(self, array: np.ndarray) -> np.ndarray:
        return array


class _KernelAsInTorch:
    """Flax has kernels [*positions, in, out], and torch [out, in, *positions]."""

    def to_file(self, array: np.ndarray) -> np.ndarray:
        return np.moveaxis(array, (-1, -2), (0, 1)) if array.ndim > 1 else array

    def from_file(self, array: np.ndarray) -> np.ndarray:
        return np.moveaxis(array, (0, 1), (-1, -2)) if array.ndim > 1 else array


AS_IS: Layout = _AsIs()
KERNEL: Layout = _KernelAsInTorch()


def shape_in_file(layout: Layout, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape in the file of an array of the model.

    >>> shape_in_file(KERNEL, (3, 5, 2, 7))
    (7, 2, 3, 5)
    """
    # A single entry, repeated: an array of any shape that takes no memory.
    return layout.to_file(np.broadcast_to(np.zeros(()), shape)).shape
