"""Adapters for networks of other libraries.

Each library has a file. An adapter says which arrays are parameters, which are carried, and how the network is called.
"""

from __future__ import annotations

from typing import Any

from flax import nnx

from deepuq_jax._checks import expected
from deepuq_jax.adapters import equinox, function, linen, nnx_module
from deepuq_jax.adapters.protocol import Net, Parts
from deepuq_jax.adapters.selection import select

__all__ = ["Net", "Parts", "is_foreign", "select", "take_apart"]


def is_foreign(net: Any) -> bool:
    """Whether `net` is an Equinox module or a network pair.

    The pairs are those that `take_apart` accepts.
    """
    is_pair = isinstance(net, tuple) and len(net) == 2 and callable(net[0])
    return equinox.is_equinox(net) or linen.is_linen(net) or is_pair


def take_apart(net: Any) -> Parts:
    """Split a network into its parts.

    The parts are the parameters, the carried state, and a static part that calls the network at given parameters and a
    given state.

    >>> take_apart(nnx.Linear(2, 1, rngs=nnx.Rngs(0))).params["kernel"].shape
    (2, 1)
    """
    if isinstance(net, nnx.Module):
        return nnx_module.take_apart(net)
    if equinox.is_equinox(net):
        return equinox.take_apart(net)
    if linen.is_linen(net):
        return linen.take_apart(*net)
    if isinstance(net, tuple) and len(net) == 2 and callable(net[0]):
        return function.take_apart(*net)
    kinds = "a Flax NNX or Equinox module, or a pair (Linen module, variables) or (apply, params)"
    raise TypeError(expected("net", f"to be {kinds}", net))
