"""The parts of a network of any library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from jax import Array


class Net(Protocol):
    """The static part of a network.

    It is hashable, and networks that are built alike have equal static parts.
    """

    def __call__(self, weights: Any, carried: Any, x: Any, key: Array | None) -> tuple[Any, Any]:
        """Call the network, with all streams drawn from `key`.

        Returns:
            (outputs, carried state after the call)
        """
        ...

    def in_mode(self, name: str, value: bool, weights: Any, carried: Any) -> Net:
        """Return the network in evaluation (True) or training (False) mode.

        `name` is the attribute that Flax NNX uses for the mode.
        """
        ...


class Parts(NamedTuple):
    """The parts of a network.

    Attributes:
        net: the static part.
        params: the parameters, a pytree of floating arrays.
        carried: everything else that the network holds (an `nnx.State`, or a pytree of arrays).
        in_order: dotted paths of the parameters in the order of definition; () if there is no such order.
        of_type: returns the dotted paths of the parameters in layers of a given type or tuple of types; None if layers
            have no types.
    """

    net: Net
    params: Any
    carried: Any
    in_order: tuple[str, ...] = ()
    of_type: Callable[[Any], list[str]] | None = None
