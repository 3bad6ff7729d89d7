"""Codecs of layers of Flax NNX."""

from __future__ import annotations

from typing import Any

from flax import nnx

from deepuq_jax.saving._builder import Node
from deepuq_jax.saving._codec import Codec, Describe, Part, Place, join
from deepuq_jax.saving._registry import Registry, dtype_name

_DTYPES = ("dtype", "param_dtype")


class FlaxCodec(Codec):
    """The codec of a Flax layer that keeps its arguments as attributes.

    Args:
        kind: the class.
        name: its name in the file.
        settings: the names of its settings.
        places: the arrays whose names or axes differ in the file.
    """

    def __init__(self, kind: Any, name: str, settings: tuple[str, ...], places: tuple[Place, ...] = ()):
        self.kind = kind
        self.name = name
        self._settings = settings
        self._places = list(places)

    def describe(self, value: Any, path: str, describe: Describe) -> dict[str, Any]:
        """Describe the attributes."""
        found: dict[str, Any] = {}
        for name in self._settings:
            setting = getattr(value, name)
            found[name] = dtype_name(setting) if name in _DTYPES else describe(setting, join(path, name))
        return found

    def build(self, node: Node) -> Any:
        """Call the constructor."""
        return self.kind(**self._options(node), rngs=nnx.Rngs(0))

    def _options(self, node: Node) -> dict[str, Any]:
        return {name: node.dtype(name) if name in _DTYPES else node.build(name) for name in self._settings}

    def places(self, value: Any, registry: Registry) -> list[Place]:
        """Return the places that the codec was given."""
        return self._places


class EmbedCodec(FlaxCodec):
    """The codec of the embedding, whose default dtype is its table's."""

    def _options(self, node: Node) -> dict[str, Any]:
        options = super()._options(node)
        return options | {"dtype": None} if node["dtype"] == node["param_dtype"] else options


class DropoutCodec(FlaxCodec):
    """The codec of dropout, with or without a stream of keys."""

    def describe(self, value: Any, path: str, describe: Describe) -> dict[str, Any]:
        """Describe the attributes and the name of the stream."""
        stream = None if value.rngs is None else value.rngs.tag
        return super().describe(value, path, describe) | {"stream": stream}

    def build(self, node: Node) -> Any:
        """Call the constructor with a stream of that name."""
        options, stream = self._options(node), node["stream"]
        return self.kind(**options, rngs=None if stream is None else nnx.Rngs(**{stream: 0})[stream])


class StackCodec(Codec):
    """The codec of `nnx.Sequential`."""

    name = "Stack"

    def describe(self, value: nnx.Sequential, path: str, describe: Describe) -> dict[str, Any]:
        """Describe the members."""
        return {"members": [describe(member, join(path, f"{i}")) for i, member in enumerate(value.layers)]}

    def build(self, node: Node) -> nnx.Sequential:
        """Build the members."""
        return nnx.Sequential(*node.list_of("members"))

    def parts(self, value: nnx.Sequential) -> list[Part]:
        """List the members."""
        return [Part(one, f"layers.{i}", f"{i}", ("members", i)) for i, one in enumerate(value.layers)]
