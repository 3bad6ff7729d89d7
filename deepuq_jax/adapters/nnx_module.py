"""Adapt Flax NNX modules.

The `nnx.Param`s are parameters; every other Variable is carried.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from flax import nnx
from jax import Array

from deepuq_jax.adapters.protocol import Parts


@dataclass(frozen=True)
class NNXNet:
    """The static part of an NNX module.

    Rebuilding the module from it keeps tied parameters tied.
    """

    graphdef: Any

    def __call__(self, weights: Any, carried: Any, x: Any, key: Array | None) -> tuple[Any, Any]:
        """Rebuild and call the module, whose streams are among `carried`.

        Returns:
            (outputs, carried Variables after the call)
        """
        net = nnx.merge(self.graphdef, weights, carried)
        return net(x), nnx.state(net, nnx.Not(nnx.Param))

    def in_mode(self, name: str, value: bool, weights: Any, carried: Any) -> NNXNet:
        """Set the attribute `name` on every submodule that has it."""
        net = nnx.merge(self.graphdef, weights, carried)
        net.set_attributes(raise_if_not_found=False, **{name: value})
        return NNXNet(nnx.split(net)[0])


def take_apart(net: nnx.Module) -> Parts:
    """Split the module into its parts.

    The parameters are nested dicts.
    """
    graphdef, params, carried = nnx.split(net, nnx.Param, ...)
    names = {path: ".".join(map(str, path)) for path, _ in nnx.to_flat_state(params)}
    # A tied parameter has several paths in the graph, of which the split keeps a single path.
    name_of = {id(node): names[path] for path, node in nnx.iter_graph(net) if path in names}
    in_order = [name_of[id(param)] for param in _params_in_order(net, set())]

    def of_type(types: Any) -> list[str]:
        layers = [module for _, module in nnx.iter_modules(net) if isinstance(module, types)]
        return [name_of[id(param)] for layer in layers for param in _params_in_order(layer, set())]

    return Parts(NNXNet(graphdef), nnx.to_pure_dict(params), carried, tuple(in_order), of_type)


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


def _children(node: Any) -> Iterable[Any]:
    if isinstance(node, nnx.Variable):
        return ()
    if isinstance(node, nnx.Pytree):
        return [child for name, child in vars(node).items() if not name.startswith("_pytree__")]
    if isinstance(node, dict):
        return node.values()
    return node if isinstance(node, (list, tuple)) else ()
