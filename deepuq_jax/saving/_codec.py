"""How objects become nodes of a description, and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from deepuq_jax._checks import expected
from deepuq_jax._paths import dotted
from deepuq_jax.saving._layout import AS_IS, Layout
from deepuq_jax.saving._modes import ATTRIBUTES, Mode, mode_of

CLASS = "class"
ARRAY = "array"
OWN = "own"
FUNCTION = "function"


class NeedsLikeError(ValueError):
    """A part of the file can only be read into a model that the caller passes."""


class Place(NamedTuple):
    """Where arrays of an object stand in the model and in the file.

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
        setting: where its node stands in the node of the object around it.
    """

    value: Any
    attribute: str
    name: str
    setting: tuple[str | int, ...]


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
        """Build an object from its settings; its arrays are filled in later."""

    def places(self, value: Any, registry: Registry) -> list[Place]:
        """List the arrays whose names or axes differ in the file."""
        del value, registry
        return []

    def parts(self, value: Any) -> list[Part]:
        """List the parts that are nodes of their own."""
        del value
        return []


Describe = Callable[[Any, str], Any]


@dataclass(frozen=True)
class Node:
    """A node of a description, with the means to build what it holds."""

    settings: Mapping[str, Any]
    builder: Builder

    def __getitem__(self, name: str) -> Any:
        """Return a setting as JSON.

        Raises:
            ValueError: the setting is missing.
        """
        if name not in self.settings:
            raise ValueError(expected(f"{self.settings[CLASS]}", f"with the setting {name!r}", "none"))
        return self.settings[name]

    def build(self, name: str) -> Any:
        """Build the value of a setting."""
        return self.builder.value(self[name])

    def list_of(self, name: str) -> list[Any]:
        """Build the values of a setting that is a list."""
        if not isinstance(self[name], list):
            raise ValueError(expected(name, "to be a list", type(self[name]).__name__))
        return [self.builder.value(value) for value in self[name]]

    def dtype(self, name: str) -> Any:
        """Return a setting that names a dtype, as the scalar type of `jax.numpy`, or None."""
        return None if self[name] is None else dtype_named(self[name])


class Registry:
    """The codecs of the classes that a file may name."""

    def __init__(self) -> None:
        self.by_name: dict[str, Codec] = {}
        self.by_type: dict[type, Codec] = {}
        self.functions: dict[str, Callable[..., Any]] = {}

    def add(self, codec: Codec, kind: type) -> None:
        """Add the codec of a class."""
        self.by_name[codec.name] = codec
        self.by_type[kind] = codec

    def find(self, value: Any) -> Codec | None:
        """Return the codec of an object, or None; a subclass is another class."""
        if any(function is value for function in self.functions.values()):
            return self.by_name[FUNCTION]
        return self.by_type.get(type(value))

    def describe(self, value: Any, path: str) -> Any:
        """Describe an object, or a plain value, as JSON."""
        codec = self.find(value)
        if codec is not None:
            return {CLASS: codec.name} | codec.describe(value, path, self.describe)
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, (int, float)):
            return int(value) if isinstance(value, int) else float(value)
        if isinstance(value, (list, tuple)):
            return [self.describe(one, join(path, f"{i}")) for i, one in enumerate(value)]
        if isinstance(value, (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct)):
            return {ARRAY: path}
        return _own(value, path)

    def places(self, value: Any) -> list[Place]:
        """List where the arrays of an object and of its parts stand, the parts first."""
        codec = self.find(value)
        if codec is None:
            return []
        found = codec.places(value, self)
        for part in codec.parts(value):
            inner = [
                Place(join(part.attribute, a), join(part.name, b), layout) for a, b, layout in self.places(part.value)
            ]
            found += [*inner, Place(part.attribute, part.name)]
        return found

    def leaves(self, value: Any) -> list[Leaf]:
        """Return the arrays of an object in their order, with names and layouts of the file.

        Raises:
            ValueError: two arrays have one name.
        """
        places = sorted(self.places(value), key=lambda place: -len(place.attribute))
        found = [_placed(path, leaf, places) for path, leaf in flat_arrays(value)]
        names = [leaf.name for leaf in found]
        if len(set(names)) < len(names):
            twice = sorted(name for name in set(names) if names.count(name) > 1)
            raise ValueError(expected("the arrays of the model", "to have names of their own", ", ".join(twice)))
        return found


class Leaf(NamedTuple):
    """An array of a model, with its name and layout in the file."""

    name: str
    layout: Layout
    value: Any


def flat_arrays(value: Any) -> list[tuple[str, Any]]:
    """Return the arrays of a model with their dotted paths, in the order of `jax.tree.leaves`."""
    tree = nnx.split(value)[1] if isinstance(value, nnx.Module) else value
    found = jax.tree_util.tree_leaves_with_path(tree)
    return [(dotted(_without_variable(path)), leaf) for path, leaf in found]


def _without_variable(path: tuple[Any, ...]) -> tuple[Any, ...]:
    """Leave out the step from a Variable of Flax to its value."""
    return tuple(step for step in path if step != jax.tree_util.GetAttrKey("value"))


def _placed(path: str, leaf: Any, places: list[Place]) -> Leaf:
    for attribute, name, layout in places:
        if path == attribute or path.startswith(f"{attribute}."):
            return Leaf(join(name, path[len(attribute) + 1 :]), layout, leaf)
    return Leaf(path or "value", AS_IS, leaf)


def _own(value: Any, path: str) -> dict[str, Any]:
    """Describe an object whose class is not known."""
    if _is_function(value):
        what = (
            "to have no unregistered function among its settings (pass the name of an activation, such as 'tanh', or "
            "register the function with deepuq_jax.saving.register)"
        )
        raise ValueError(expected("model", what, f"{value!r} at {path or 'the root'}"))
    return {CLASS: OWN, "name": type(value).__qualname__, "mode": mode_of(value, path)}


def _is_function(value: Any) -> bool:
    return callable(value) and not isinstance(value, type) and hasattr(value, "__name__")


@dataclass(frozen=True)
class Builder:
    """Builds the objects of a description.

    Attributes:
        registry: the classes that may be built.
        arrays: the arrays of the file.
    """

    registry: Registry
    arrays: Mapping[str, np.ndarray]

    def value(self, value: Any) -> Any:
        """Build the object of a node; return a plain value as it is, and lists as tuples."""
        if isinstance(value, list):
            return tuple(self.value(one) for one in value)
        if not isinstance(value, dict):
            return value
        if set(value) == {ARRAY}:
            return self._array(value[ARRAY])
        name = value.get(CLASS)
        if name == OWN:
            what = "for a file with a class of the caller's own that is not registered"
            raise NeedsLikeError(expected("like", what, f"None, and {value.get('name')!r:.100} in the file"))
        if not isinstance(name, str) or name not in self.registry.by_name:
            what = "to be a class of deepuq_jax or a registered one"
            raise ValueError(expected("every class in the file", what, f"{name!r:.100}"))
        return self._built(self.registry.by_name[name], Node(value, self))

    def _built(self, codec: Codec, node: Node) -> Any:
        try:
            return codec.build(node)
        except NeedsLikeError:
            raise
        except Exception as error:  # Constructors of other libraries raise what they like.
            raise ValueError(f"The settings of {codec.name} are not valid: {error}") from error

    def _array(self, name: Any) -> np.ndarray:
        if not isinstance(name, str) or name not in self.arrays:
            raise ValueError(expected("every array that a setting names", "to be in the file", f"{name!r:.100}"))
        return self.arrays[name]


def join(path: str, name: str) -> str:
    """Join two dotted paths, either of which may be empty.

    >>> join("", "a"), join("a", "b"), join("a", "")
    ('a', 'a.b', 'a')
    """
    return f"{path}.{name}".strip(".")


def dtype_name(dtype: Any) -> str | None:
    """Return the name of a dtype, or None for None."""
    return None if dtype is None else jnp.dtype(dtype).name


def dtype_named(name: Any) -> Any:
    """Return the scalar type of `jax.numpy` with a name, such as `jnp.float32`.

    Raises:
        ValueError: there is no such floating dtype.
    """
    names = ("float16", "bfloat16", "float32", "float64")
    if name not in names:
        raise ValueError(expected("a dtype", f"to be one of {', '.join(names)}", f"{name!r:.100}"))
    return getattr(jnp, name)


def check_mode(mode: Any) -> Mode:
    """Require the mode of an own part, as `mode_of` returns it."""
    is_mode = mode is None or (isinstance(mode, dict) and set(mode) == set(ATTRIBUTES))
    if not is_mode or not all(isinstance(value, bool) for value in (mode or {}).values()):
        raise ValueError(expected("mode", "to be null or an object of booleans", f"{mode!r:.100}"))
    return mode
