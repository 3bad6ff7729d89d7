"""The contract of codecs, between objects and descriptions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from deepuq_jax.saving._layout import AS_IS, Layout

if TYPE_CHECKING:
    from deepuq_jax.saving._builder import Node
    from deepuq_jax.saving._registry import Registry

# Keys and classes of a description.
CLASS = "class"
ARRAY = "array"
OWN = "own"
FUNCTION = "function"

# (value, path in the file) -> JSON.
Describe = Callable[[Any, str], Any]


class Place(NamedTuple):
    """Where arrays stand in the model and in the file.

    Attributes:
        attribute: dotted path in the model, relative to the object; a prefix of the arrays' paths.
        name: the path in the file, relative to the node.
        layout: the order of the axes in the file.
    """

    attribute: str
    name: str
    layout: Layout = AS_IS


class Part(NamedTuple):
    """An object inside another, with a node of its own.

    Attributes:
        value: the object.
        attribute, name: its dotted paths in the model and in the file, relative to the object around it.
        setting: the path of its node in the node of the object around it.
    """

    value: Any
    attribute: str
    name: str
    setting: tuple[str | int, ...]


class Leaf(NamedTuple):
    """An array, with its name and layout in the file."""

    name: str
    layout: Layout
    value: Any


class Codec(ABC):
    """How the objects of a class are described and built.

    Attributes:
        name: the class in the file.
    """

    name: str

    @abstractmethod
    def describe(self, value: Any, path: str, describe: Describe) -> dict[str, Any]:
        """Return the settings of an object, without its class.

        Args:
            value: the object.
            path: its path in the file.
            describe: (value, path) -> JSON, for parts and settings that may be arrays.
        """

    @abstractmethod
    def build(self, node: Node) -> Any:
        """Build an object; its arrays are filled in later."""

    def places(self, value: Any, registry: Registry) -> list[Place]:
        """List arrays whose names or axes differ in files."""
        del value, registry
        return []

    def parts(self, value: Any) -> list[Part]:
        """List the parts that are nodes of their own."""
        del value
        return []


def join(path: str, name: str) -> str:
    """Join two dotted paths, either of which may be empty.

    >>> join("", "a"), join("a", "b"), join("a", "")
    ('a', 'a.b', 'a')
    """
    return f"{path}.{name}".strip(".")
