"""Adapt functions of parameters and inputs, which carry no state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax.adapters.protocol import Parts


@dataclass(frozen=True)
class FunctionNet:
    """A network given by a function: outputs = apply(params, x)."""

    apply: Callable[..., Any]

    def __call__(self, weights: Any, carried: Any, x: Any, key: Array | None) -> tuple[Any, Any]:
        """Return the function's outputs at these weights."""
        return self.apply(weights, x), carried

    def in_mode(self, name: str, value: bool, weights: Any, carried: Any) -> FunctionNet:
        """Return the network itself, since functions have no modes."""
        return self

    def in_dtype(self, dtype: Any, weights: Any, carried: Any) -> FunctionNet:
        """Return the network itself, which computes in the dtype of its arguments."""
        return self


def take_apart(apply: Callable[..., Any], params: Any) -> Parts:
    """Split the pair into its parts."""
    return Parts(FunctionNet(apply), jax.tree.map(jnp.asarray, params), {})
