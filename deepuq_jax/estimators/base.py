"""What a forward estimator is: how the noise of a layer enters its outputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array

# The linear map of a layer: (inputs, kernel) -> outputs.
Op = Callable[[Any, Array], Array]


class Estimator(ABC):
    """How a layer's noise enters its forward pass; hashable, and equal where it does the same.

    `op(x, w)` is the layer's linear map of its input and a kernel, so that one estimator serves every layer; `kernel`
    and `bias` are posteriors, and `bias` may be None.
    """

    @abstractmethod
    def draw_noise(self, op: Op, x: Any, kernel: Any, bias: Any | None, *, key: Array) -> Any:
        """The noise that a call on `x` takes."""

    @abstractmethod
    def __call__(self, op: Op, x: Array, kernel: Any, bias: Any | None, noise: Any) -> Array:
        """Outputs [..., out_features] under that noise, in the dtype of `op`."""


def add_bias(outputs: Array, bias: Array) -> Array:
    """Outputs [..., out_features] plus a bias [out_features], in the outputs' dtype."""
    return outputs + jnp.broadcast_to(bias.astype(outputs.dtype), outputs.shape)
