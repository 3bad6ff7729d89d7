"""A function of parameters and inputs; it carries nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jax import Array

from deepuq_jax.adapters.protocol import Parts


@dataclass(frozen=True)
class FunctionNet:
    """outputs = apply(params, x)"""

    apply: Callable[..., Any]

    def __call__(self, weights: Any, carried: Any, x: Any, key: Array | None) -> tuple[Any, Any]:
        """Outputs of the function at these weights."""
        return self.apply(weights, x), carried

    def in_mode(self, name: str, value: bool, weights: Any, carried: Any) -> FunctionNet:
        """Itself: a function has no modes."""
        return self


def take_apart(apply: Callable[..., Any], params: Any) -> Parts:
    """The pair as its parts."""
    return Parts(FunctionNet(apply), params, {})
