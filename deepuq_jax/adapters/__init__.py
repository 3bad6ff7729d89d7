"""Networks of other libraries, one library a file: what is parameters, what is carried, how they are called."""

from __future__ import annotations

from typing import Any

from flax import nnx

from deepuq_jax._checks import expected
from deepuq_jax.adapters import equinox, function, linen, nnx_module
from deepuq_jax.adapters.protocol import Net, Parts
from deepuq_jax.adapters.selection import select

__all__ = ["Net", "Parts", "is_foreign", "select", "take_apart"]


def is_foreign(net: Any) -> bool:
    """Whether `net` is an Equinox module, or one of the pairs that `take_apart` takes."""
    is_pair = isinstance(net, tuple) and len(net) == 2 and callable(net[0])
    return equinox.is_equinox(net) or linen.is_linen(net) or is_pair


def take_apart(net: Any) -> Parts:
    """A network as its parameters, its carried state, and a static part that calls it at given ones.

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
