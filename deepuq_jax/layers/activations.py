"""Activation functions and their documented names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from deepuq_jax._checks import expected


def gelu(x: Array) -> Array:
    """Compute the exact GELU, x Phi(x).

    As documented, Phi is the exact Gaussian distribution function; `nnx.gelu` uses an approximation.

    >>> round(float(gelu(jnp.array(1.0))), 6)
    0.841345
    """
    return jax.nn.gelu(x, approximate=False)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": nnx.relu,
    "gelu": gelu,
    "tanh": jnp.tanh,
    "silu": nnx.silu,
}


def activation_function(activation: Any) -> Callable[..., Any]:
    """Look up an activation by its name.

    The name may be in upper or lower case. A callable is returned as it is.

    Raises:
        ValueError: the name is unknown.
        TypeError: the argument is neither a name nor a callable.

    >>> activation_function("tanh") is jnp.tanh
    True
    """
    if callable(activation):
        return activation
    names = ", ".join(ACTIVATIONS)
    if not isinstance(activation, str):
        raise TypeError(expected("activation", f"to be a callable or one of {names}", activation))
    if activation.lower() not in ACTIVATIONS:
        raise ValueError(expected("activation", f"to be one of {names}", f"{activation!r}"))
    return ACTIVATIONS[activation.lower()]
