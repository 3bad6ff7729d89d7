"""Nodes, the JSON objects that describe parts of a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import torch

from ._checks import fault, finite_number, positive_number, positive_size, positive_sizes

Node: TypeAlias = "dict[str, Any]"
Path: TypeAlias = "tuple[str, ...]"
CLASS = "class"
OWN = "own"  # the class of a part whose architecture is in the caller's code, not in the file
_MODE = "mode"
_PARAM_DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}
_DTYPE_NAMES = {dtype: name for name, dtype in _PARAM_DTYPES.items()}


def dtype_name(tensors: list[torch.Tensor]) -> str | None:
    """Name the floating dtype that all tensors share, if any."""
    dtypes = {tensor.dtype for tensor in tensors}
    return _DTYPE_NAMES.get(dtypes.pop()) if len(dtypes) == 1 else None


class Settings:
    """Settings of a node, read by name and checked.

    Args:
        node: JSON value that should be a node.
        path: path of the node, for messages.
        names: names of all settings of its class.

    Raises:
        ValueError: a setting is missing or unknown.
    """

    def __init__(self, node: Node, path: Path, *names: str):
        self.node, self.path = node, path
        self._what = f"{node[CLASS]} {dotted(path)!r}"
        if node.keys() != {CLASS, *names}:
            raise ValueError(fault(f"the {self._what}", f"to have the settings {', '.join(names)}", ", ".join(node)))

    def size(self, name: str) -> int:
        """Return a positive int."""
        return positive_size(self._name(name), self.node[name])

    def sizes(self, name: str) -> tuple[int, ...]:
        """Return a tuple of positive ints."""
        if not isinstance(self.node[name], list):
            raise ValueError(fault(self._name(name), "to be a list of sizes", repr(self.node[name])))
        return positive_sizes(self._name(name), self.node[name])

    def flag(self, name: str) -> bool:
        """Return a boolean."""
        return self.one_of(name, True, False)

    def number(self, name: str) -> float:
        """Return a finite number."""
        return finite_number(self._name(name), self.node[name])

    def positive(self, name: str) -> float:
        """Return a positive finite number."""
        return positive_number(self._name(name), self.node[name])

    def one_of(self, name: str, *known: Any) -> Any:
        """Return a value, which must be among those that deepuq_torch supports."""
        value = self.node[name]
        if not any(type(value) is type(other) and value == other for other in known):
            wanted = " or ".join(map(repr, known))
            raise ValueError(fault(self._name(name), f"to be {wanted} in deepuq_torch", repr(value)))
        return value

    def dtype(self, name: str) -> torch.dtype:
        """Return a floating dtype."""
        return _PARAM_DTYPES[self.one_of(name, *_PARAM_DTYPES)]

    def node_at(self, name: str, *known: str) -> Node:
        """Return a node of a known class."""
        return as_node(self.node[name], (*self.path, name), known)

    def nodes(self, name: str) -> list[Any]:
        """Return a list of nodes, which are not checked yet."""
        if not isinstance(self.node[name], list):
            raise ValueError(fault(self._name(name), "to be a list", repr(self.node[name])))
        return self.node[name]

    def _name(self, name: str) -> str:
        return f"{name} of the {self._what}"


def as_node(value: Any, path: Path, known: tuple[str, ...] | frozenset[str]) -> Node:
    """Require a node of a known class."""
    if not isinstance(value, dict) or not isinstance(value.get(CLASS), str):
        raise ValueError(fault(f"{dotted(path)!r}", "to be an object with a class", repr(value)[:80]))
    if value[CLASS] not in known:
        wanted = f"to be in deepuq_torch, which has {', '.join(sorted(known))} here"
        raise ValueError(fault(f"the class of {dotted(path)!r}", wanted, value[CLASS]))
    return value


def dotted(path: Path) -> str:
    """Join a path by dots; the root is ``model``."""
    return ".".join(path) or "model"


def differences(file: Any, like: Any, path: Path = ()) -> Iterator[str]:
    """List the settings in which two descriptions differ."""
    if isinstance(file, dict) and isinstance(like, dict):
        left, right = _comparable(file), _comparable(like)
        for name in left | right:
            if name in left and name in right:
                yield from differences(left[name], right[name], (*path, name))
            else:
                yield f"{dotted((*path, name))} is in {'the file' if name in left else 'like'} alone"
    elif isinstance(file, list) and isinstance(like, list) and len(file) == len(like):
        for i, (one, other) in enumerate(zip(file, like, strict=True)):
            yield from differences(one, other, (*path, str(i)))
    elif type(file) is not type(like) or file != like:
        yield f"{dotted(path)} is {file!r} in the file and {like!r} in like"


def _comparable(node: Node) -> Node:
    """Leave out modes, and give equivalent classes the same name."""
    settings = dict(node)
    if settings.get(CLASS) == "function":
        settings[CLASS] = "Activation"
    if settings.get(CLASS) == OWN and isinstance(settings.get(_MODE), list):
        settings[_MODE] = None
    return settings
