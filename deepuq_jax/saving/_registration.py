"""Registration of users' own classes and functions for saved files."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from flax import nnx

from deepuq_jax._checks import expected
from deepuq_jax.saving._builder import Node
from deepuq_jax.saving._codec import CLASS, OWN, Codec, Describe, join
from deepuq_jax.saving._dataclasses import DataclassCodec
from deepuq_jax.saving._known import known_classes
from deepuq_jax.saving._modes import check_mode, mode_of

REGISTRY = known_classes()
_BUILT_IN = frozenset(REGISTRY.by_name) | frozenset(REGISTRY.functions) | {OWN}
_MODE = "mode"


class ModuleCodec(Codec):
    """The codec of a user's Flax NNX module.

    Args:
        kind: the class.
        name: its name in the file.
        settings: names of its constructor's arguments, each of which is also the name of an attribute.
    """

    def __init__(self, kind: type[nnx.Module], name: str, settings: Sequence[str]):
        self.kind: Any = kind
        self.name = name
        self._settings = tuple(settings)
        self._takes_rngs = "rngs" in inspect.signature(kind.__init__).parameters

    def describe(self, value: Any, path: str, describe: Describe) -> dict[str, Any]:
        """Describe the settings and the mode."""
        found = {name: describe(getattr(value, name), join(path, name)) for name in self._settings}
        return {_MODE: mode_of(value, path)} | found

    def build(self, node: Node) -> Any:
        """Call the constructor, and set the mode."""
        options = {name: node.build(name) for name in self._settings}
        model: Any = self.kind(**options, rngs=nnx.Rngs(0)) if self._takes_rngs else self.kind(**options)
        model.set_attributes(raise_if_not_found=False, **(check_mode(node[_MODE]) or {}))
        return model


def register(kind: Any = None, *, name: str | None = None, settings: Sequence[str] | None = None) -> Any:
    """Register your own class or function for files.

    `load` then builds its instances without the argument `like`. The file holds the name of the class or function, not
    its code, so also register it in the program that loads the file. Use `register` as a decorator, or call it.

    Args:
        kind: a frozen dataclass, a Flax NNX module or a function. The file keeps the fields of a dataclass (such as a
            prior, a likelihood or an estimator): numbers as JSON, and arrays as arrays. It keeps the `settings` of a
            module, and only the name of a function (such as an activation).
        name: the name in files. Default: the module and the name of the class or function.
        settings: for a module, the names of the constructor's arguments to keep. The module must hold each in an
            attribute of the same name. Leave out `rngs`, which `load` passes itself.
    Returns:
        `kind`, or a decorator if `kind` is None.
    Raises:
        TypeError: `kind` is none of these; or `settings` are missing for a module, or passed for anything else.
        ValueError: the name belongs to another class or function.

    >>> import jax.numpy as jnp
    >>> @register(name="example.softsign")
    ... def softsign(x):
    ...     return x / (1 + jnp.abs(x))
    """
    if kind is None:
        return lambda one: register(one, name=name, settings=settings)
    if not callable(kind) or not hasattr(kind, "__qualname__"):
        raise TypeError(expected("kind", "to be a class or a named function", kind))
    name = f"{kind.__module__}.{kind.__qualname__}" if name is None else name
    _check_name(name, kind)
    if not isinstance(kind, type):
        _no_settings(settings, "a function")
        REGISTRY.functions[name] = kind
    elif issubclass(kind, nnx.Module):
        if settings is None or isinstance(settings, str):
            raise TypeError(expected("settings", "to list the arguments of the constructor", settings))
        REGISTRY.add(ModuleCodec(kind, name, settings), kind)
    elif dataclasses.is_dataclass(kind):
        _no_settings(settings, "a dataclass")
        REGISTRY.add(DataclassCodec(kind, name), kind)
    else:
        raise TypeError(expected("kind", "to be a Flax NNX module, a dataclass or a function", kind.__name__))
    return kind


def _no_settings(settings: Any, what: str) -> None:
    if settings is not None:
        raise TypeError(expected("settings", f"to be None for {what}", settings))


def _check_name(name: str, kind: Callable[..., Any]) -> None:
    if name in _BUILT_IN or name == CLASS:
        raise ValueError(expected("name", "to differ from the names of the library", f"{name!r}"))
    codec = REGISTRY.by_name.get(name)
    known = codec.kind if isinstance(codec, (ModuleCodec, DataclassCodec)) else REGISTRY.functions.get(name)
    is_redefined = known is None or (known.__module__, known.__qualname__) == (kind.__module__, kind.__qualname__)
    if not is_redefined:
        raise ValueError(expected("name", "that no other class or function has", f"{name!r}"))
