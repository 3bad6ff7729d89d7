"""Adapt Flax NNX modules.

The `nnx.Param`s are parameters; every other Variable is carried.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from flax import nnx
from jax import Array

from deepuq_jax.adapters.protocol import MODE_ARGUMENTS, Parts, arguments_in_mode
from deepuq_jax.model.annotations import annotation_of
from deepuq_jax.model.precision import set_open_dtypes


@dataclass(frozen=True)
class NNXNet:
    """The static part of an NNX module, and the arguments of its call.

    Rebuilding the module from it keeps tied parameters tied.
    """

    graphdef: Any
    arguments: tuple[tuple[str, bool], ...] = ()
    takes_rngs: bool = False

    def __call__(self, weights: Any, carried: Any, x: Any, key: Array | None) -> tuple[Any, Any]:
        """Rebuild and call the module, whose streams are among `carried`.

        Returns:
            (outputs, carried Variables after the call)
        """
        net = nnx.merge(self.graphdef, weights, carried)
        options: dict[str, Any] = dict(self.arguments)
        if self.takes_rngs:
            options["rngs"] = None if key is None else nnx.Rngs(key)
        return net(x, **options), nnx.state(net, nnx.Not(nnx.Param))

    def in_mode(self, name: str, value: bool, weights: Any, carried: Any) -> NNXNet:
        """Set the attribute `name` on every submodule that has it."""
        net = nnx.merge(self.graphdef, weights, carried)
        net.set_attributes(raise_if_not_found=False, **{name: value})
        arguments = arguments_in_mode(self.arguments, name, value)
        return replace(self, graphdef=nnx.split(net)[0], arguments=arguments)

    def in_dtype(self, dtype: Any, weights: Any, carried: Any) -> NNXNet:
        """Set the attribute `dtype` of every layer in which it is None."""
        net = nnx.merge(self.graphdef, weights, carried)
        set_open_dtypes(net, dtype)
        return replace(self, graphdef=nnx.split(net)[0])


def take_apart(net: nnx.Module) -> Parts:
    """Split the module into its parts.

    The parameters are nested dicts.
    """
    graphdef, params, carried = nnx.split(net, nnx.Param, ...)
    names = {path: ".".join(map(str, path)) for path, _ in nnx.to_flat_state(params)}
    # A tied parameter has several paths in the graph, of which the split keeps a single path.
    name_of = {id(node): names[path] for path, node in nnx.iter_graph(net) if path in names}
    ordered = _params_in_order(net, set()) if _has_last_layer(net) else ()
    in_order = [name_of[id(param)] for param in ordered]

    def of_type(types: Any) -> list[str]:
        layers = [module for _, module in nnx.iter_modules(net) if isinstance(module, types)]
        return [name_of[id(param)] for layer in layers for param in _params_in_order(layer, set())]

    arguments, takes_rngs = _arguments(net)
    annotations = {names[path]: annotation_of(param.get_metadata()) for path, param in nnx.to_flat_state(params)}
    net_of_parts = NNXNet(graphdef, arguments, takes_rngs)
    return Parts(net_of_parts, nnx.to_pure_dict(params), carried, tuple(in_order), of_type, annotations)


def _arguments(net: nnx.Module) -> tuple[tuple[tuple[str, bool], ...], bool]:
    """Find the mode arguments that the module's call takes, and whether it takes `rngs`.

    An argument with the default None is left out, since by Flax's convention the module's own mode then counts. An
    argument without a default starts in training mode.
    """
    parameters = inspect.signature(type(net).__call__).parameters
    found = {name: parameters[name].default for name in MODE_ARGUMENTS if name in parameters}
    modes = {
        name: default if isinstance(default, bool) else not MODE_ARGUMENTS[name]
        for name, default in found.items()
        if default is not None
    }
    return tuple(modes.items()), "rngs" in parameters


def _params_in_order(node: Any, seen: set[int]) -> Iterator[nnx.Param[Any]]:
    """Yield each Param below `node` once.

    Attributes come in the order in which they were first set.
    """
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, nnx.Param):
        yield node
    for child in _children(node):
        yield from _params_in_order(child, seen)


def _has_last_layer(node: Any) -> bool:
    """Whether the last layer stays last in `nnx.split` and the like.

    `nnx.split`, `nnx.clone` and `nnx.jit` sort the attributes of a module by name, and keep the order of lists.
    """
    children = [child for child in _children(node) if any(True for _ in _params_in_order(child, set()))]
    if all(isinstance(child, nnx.Variable) for child in children):
        return True
    is_list = isinstance(node, (nnx.List, list, tuple))
    return (is_list or len(children) == 1) and _has_last_layer(children[-1])


def _children(node: Any) -> Iterable[Any]:
    if isinstance(node, nnx.Variable):
        return ()
    if isinstance(node, nnx.Pytree):
        return [child for name, child in vars(node).items() if not name.startswith("_pytree__")]
    if isinstance(node, dict):
        return node.values()
    return node if isinstance(node, (list, tuple)) else ()
