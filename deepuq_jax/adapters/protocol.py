"""The parts of a network of any library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from jax import Array

from deepuq_jax.model.annotations import Annotation


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
        """Return the network with a mode set.

        Args:
            name: "deterministic" (True switches dropout off) or "use_running_average" (True makes BatchNorm use its
                running statistics), the attributes of Flax NNX.
            value: True in evaluation.
            weights, carried: the network's arrays.
        """
        ...

    def in_dtype(self, dtype: Any, weights: Any, carried: Any) -> Net:
        """Return the network with a compute dtype in all layers that have none of their own.

        The network's weights and inputs are cast before its call. A library without such layers returns the network
        itself.
        """
        ...


# The names of arguments under which modules take their mode, and the argument's value in evaluation.
BOTH_MODES = ("train", "training", "is_training")  # True means dropout, and BatchNorm by the batch.
MODE_ARGUMENTS = dict.fromkeys(BOTH_MODES, False) | {"deterministic": True, "use_running_average": True}


def arguments_in_mode(arguments: tuple[tuple[str, bool], ...], name: str, value: bool) -> tuple[tuple[str, bool], ...]:
    """Set the mode arguments of a call.

    An argument such as `train`, which stands for the whole mode, follows "deterministic".

    >>> arguments_in_mode((("train", True), ("use_running_average", False)), "deterministic", True)
    (('train', False), ('use_running_average', False))
    """

    def follows(argument: str) -> bool:
        return argument == name or (name == "deterministic" and argument in BOTH_MODES)

    return tuple(
        (argument, MODE_ARGUMENTS[argument] == value if follows(argument) else now) for argument, now in arguments
    )


class Parts(NamedTuple):
    """The parts of a network.

    Attributes:
        net: the static part.
        params: the parameters, a pytree of floating arrays.
        carried: everything else that the network holds (an `nnx.State`, or a pytree of arrays).
        in_order: dotted paths of the parameters in the order of definition; () if there is no such order.
        of_type: returns the dotted paths of the parameters in layers of a given type or tuple of types; None if layers
            have no types.
        annotations: how parameters lie over a mesh, by the dotted paths of those that are annotated.
    """

    net: Net
    params: Any
    carried: Any
    in_order: tuple[str, ...] = ()
    of_type: Callable[[Any], list[str]] | None = None
    annotations: Mapping[str, Annotation] = MappingProxyType({})
