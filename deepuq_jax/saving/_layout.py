"""The order of an array's axes in a file."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np


class Layout(ABC):
    """The order of an array's axes in the file."""

    @abstractmethod
    def axes(self, ndim: int) -> tuple[int, ...]:
        """Return the model's axes in the order of the file."""

    def shape_in_file(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape in the file.

        >>> KERNEL.shape_in_file((3, 5, 2, 7))
        (7, 2, 3, 5)
        """
        return tuple(shape[axis] for axis in self.axes(len(shape)))

    def to_file(self, array: np.ndarray) -> np.ndarray:
        """Return the array of the file."""
        return np.transpose(array, self.axes(array.ndim))

    def from_file(self, array: np.ndarray) -> np.ndarray:
        """Return the array of the model."""
        return np.transpose(array, np.argsort(self.axes(array.ndim)))


class _AsIs(Layout):
    """The order of the model."""

    def axes(self, ndim: int) -> tuple[int, ...]:
        return tuple(range(ndim))


class _KernelAsInTorch(Layout):
    """Kernels [*positions, in, out] as torch's [out, in, *positions]."""

    def axes(self, ndim: int) -> tuple[int, ...]:
        return (ndim - 1, ndim - 2, *range(ndim - 2)) if ndim > 1 else tuple(range(ndim))


AS_IS = _AsIs()
KERNEL = _KernelAsInTorch()
