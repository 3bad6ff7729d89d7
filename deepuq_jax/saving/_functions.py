"""Functions that a file names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from deepuq_jax._checks import expected
from deepuq_jax.layers.activations import ACTIVATIONS, Activation
from deepuq_jax.saving._builder import Node
from deepuq_jax.saving._codec import CLASS, FUNCTION, Codec, Describe

FUNCTIONS: dict[str, Callable[..., Any]] = ACTIVATIONS | {
    "celu": jax.nn.celu,
    "elu": jax.nn.elu,
    "gelu_tanh": jax.nn.gelu,
    "leaky_relu": jax.nn.leaky_relu,
    "selu": jax.nn.selu,
    "sigmoid": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
    "sin": jnp.sin,
}


class FunctionCodec(Codec):
    """The codec of functions with a name.

    Functions are found by identity, since two of the same name may differ.

    Args:
        functions: the functions by name.
    """

    name = FUNCTION

    def __init__(self, functions: Mapping[str, Callable[..., Any]]):
        self._functions = functions

    def describe(self, value: Any, path: str, describe: Describe) -> dict[str, Any]:
        """Return the name of the function."""
        return {"name": next(name for name, function in self._functions.items() if function is value)}

    def build(self, node: Node) -> Any:
        """Return the function of that name."""
        name = node["name"]
        if not isinstance(name, str) or name not in self._functions:
            raise ValueError(expected("every function in the file", "to be known or registered", f"{name!r:.100}"))
        return self._functions[name]


class ActivationCodec(Codec):
    """The codec of an `Activation`."""

    name = "Activation"

    def describe(self, value: Activation, path: str, describe: Describe) -> dict[str, Any]:
        """Return the name of the activation."""
        return {"name": value.name}

    def build(self, node: Node) -> Activation:
        """Build the activation."""
        return activation(node["name"])


def activation(name: Any) -> Activation:
    """Return an `Activation` by its exact name."""
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ValueError(expected("activation", f"to be one of {', '.join(ACTIVATIONS)}", f"{name!r:.100}"))
    return Activation(name)


def short_activation(described: Any) -> Any:
    """Shorten the node of an `Activation` to its name."""
    is_documented = isinstance(described, dict) and described[CLASS] == ActivationCodec.name
    return described["name"] if is_documented else described
