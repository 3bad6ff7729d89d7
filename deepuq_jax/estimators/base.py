"""The base class of forward estimators."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array

# A layer's linear map, (inputs, kernel) -> outputs.
Op = Callable[[Any, Array], Array]


class Estimator(ABC):
    """How a layer's noise enters its forward pass.

    Estimators are hashable, and estimators that do the same are equal. `op(x, w)` is the layer's linear map of its
    input and a kernel, so an estimator works for every layer. `kernel` and `bias` are posteriors, and `bias` may be
    None.
    """

    @abstractmethod
    def draw_noise(self, op: Op, x: Any, kernel: Any, bias: Any | None, *, key: Array) -> Any:
        """Draw the noise for a call on `x`."""

    @abstractmethod
    def __call__(self, op: Op, x: Array, kernel: Any, bias: Any | None, noise: Any) -> Array:
        """Compute outputs [..., out_features] in the dtype of `op`."""


def add_bias(outputs: Array, bias: Array) -> Array:
    """Add a bias [out_features] in the dtype of the outputs."""
    return outputs + jnp.broadcast_to(bias.astype(outputs.dtype), outputs.shape)
