"""Build the objects of a description."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deepuq_jax._checks import expected
from deepuq_jax.saving._codec import ARRAY, CLASS, OWN, Codec
from deepuq_jax.saving._registry import Registry


class NeedsLikeError(ValueError):
    """A part of the file needs the caller's model."""


@dataclass(frozen=True)
class Node:
    """A node of a description, and its builder."""

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
        """Return the dtype that a setting names, or None."""
        return None if self[name] is None else dtype_named(self[name])


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
        """Build the object of a node, or convert a value.

        Plain values are returned as they are, and lists as tuples.
        """
        if isinstance(value, list):
            return tuple(self.value(one) for one in value)
        if not isinstance(value, dict):
            return value
        if set(value) == {ARRAY}:
            return self._array(value[ARRAY])
        name = value.get(CLASS)
        if name == OWN:
            what = "for a file with a class of your own that is not registered"
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
        except Exception as error:  # Constructors of other libraries may raise any error.
            raise ValueError(f"The settings of {codec.name} are not valid: {error}") from error

    def _array(self, name: Any) -> np.ndarray:
        if not isinstance(name, str) or name not in self.arrays:
            raise ValueError(expected("every array that a setting names", "to be in the file", f"{name!r:.100}"))
        return self.arrays[name]


def dtype_named(name: Any) -> Any:
    """Return a scalar type of `jax.numpy` by its name.

    Raises:
        ValueError: there is no such floating dtype.
    """
    names = ("float16", "bfloat16", "float32", "float64")
    if name not in names:
        raise ValueError(expected("a dtype", f"to be one of {', '.join(names)}", f"{name!r:.100}"))
    if name == "float64" and not jax.config.read("jax_enable_x64"):
        what = "to be on for a file in double precision (jax.config.update('jax_enable_x64', True))"
        raise ValueError(expected("jax_enable_x64", what, "False"))
    return getattr(jnp, name)
