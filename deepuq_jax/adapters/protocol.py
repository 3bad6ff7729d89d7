"""What a network of any library is to `bayesianize`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from jax import Array


class Net(Protocol):
    """The static part of a network: hashable, and equal where the network is built alike."""

    def __call__(self, weights: Any, carried: Any, x: Any, key: Array | None) -> tuple[Any, Any]:
        """Outputs, and the carried state after the call; `key` is what dropout and the like are drawn from."""
        ...

    def in_mode(self, name: str, value: bool, weights: Any, carried: Any) -> Net:
        """The same in evaluation (True) or training (False); `name` is the attribute that Flax NNX has for it."""
        ...


class Parts(NamedTuple):
    """A network taken apart.

    Attributes:
        net: its static part.
        params: its parameters, a pytree of floating arrays.
        carried: what else it holds (an `nnx.State`, or a pytree of arrays).
        in_order: dotted paths of the parameters in the order of definition; () where there is no such order.
        of_type: gives the dotted paths of the layers of a type, or of one of several; None where layers have no types.
    """

    net: Net
    params: Any
    carried: Any
    in_order: tuple[str, ...] = ()
    of_type: Callable[[Any], list[str]] | None = None
