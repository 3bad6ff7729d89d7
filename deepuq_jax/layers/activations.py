"""Activation functions and their names in Deep-UQ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from deepuq_jax._checks import expected


def gelu(x: Array) -> Array:
    """Compute the exact GELU, x Phi(x).

    As in Deep-UQ, Phi is the exact Gaussian distribution function; `nnx.gelu` uses an approximation.

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


@dataclass(frozen=True)
class Activation:
    """An activation by name, which unlike JAX's own functions can be pickled.

    >>> Activation("relu")(jnp.array(-1.0))
    Array(0., dtype=float32...)
    """

    name: str

    def __call__(self, x: Array) -> Array:
        """Apply the function of that name."""
        return ACTIVATIONS[self.name](x)


def is_relu(member: Any) -> bool:
    """Whether a callable is the ReLU."""
    return member is nnx.relu or member == Activation("relu")


def activation_function(activation: Any) -> Callable[..., Any]:
    """Look up an activation by its name.

    The name may be in upper or lower case. A callable that has no name here is returned as it is.

    Raises:
        ValueError: the name is unknown.
        TypeError: the argument is neither a name nor a callable.

    >>> activation_function("tanh"), activation_function(jnp.tanh)
    (Activation(name='tanh'), Activation(name='tanh'))
    """
    if callable(activation):
        names = [name for name, function in ACTIVATIONS.items() if function is activation]
        return Activation(names[0]) if names else activation
    names = ", ".join(ACTIVATIONS)
    if not isinstance(activation, str):
        raise TypeError(expected("activation", f"to be a callable or one of {names}", activation))
    if activation.lower() not in ACTIVATIONS:
        raise ValueError(expected("activation", f"to be one of {names}", f"{activation!r}"))
    return Activation(activation.lower())
