"""The classes that a file may name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from deepuq_jax._checks import expected
from deepuq_jax._paths import dotted
from deepuq_jax.saving._codec import ARRAY, CLASS, FUNCTION, OWN, Codec, Leaf, Place, join
from deepuq_jax.saving._layout import AS_IS
from deepuq_jax.saving._modes import mode_of


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
        """Return the codec of exactly the object's class, or None."""
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
        """List the places of an object's arrays, parts first."""
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
        """List the arrays of an object, named as in files.

        Raises:
            ValueError: two arrays have the same name.
        """
        places = sorted(self.places(value), key=lambda place: -len(place.attribute))
        found = [_placed(path, leaf, places) for path, leaf in flat_arrays(value)]
        names = [leaf.name for leaf in found]
        if len(set(names)) < len(names):
            twice = sorted(name for name in set(names) if names.count(name) > 1)
            raise ValueError(expected("the arrays of the model", "to have names of their own", ", ".join(twice)))
        return found


def flat_arrays(value: Any) -> list[tuple[str, Any]]:
    """List dotted paths and arrays, in the order of `jax.tree.leaves`."""
    if not isinstance(value, nnx.Module):
        return [(dotted(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(value)]
    found = jax.tree_util.tree_leaves_with_path(nnx.split(value)[1])
    return [(dotted(_without_variable(path)), leaf) for path, leaf in found]


def _without_variable(path: tuple[Any, ...]) -> tuple[Any, ...]:
    """Leave out the step from a Variable to its value."""
    step = jax.tree_util.GetAttrKey("value")
    at = path.index(step) if step in path else len(path)
    return path[:at] + path[at + 1 :]


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


def dtype_name(dtype: Any) -> str | None:
    """Return the name of a dtype, or None for None."""
    return None if dtype is None else jnp.dtype(dtype).name
