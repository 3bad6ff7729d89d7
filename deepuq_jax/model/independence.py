"""Refuse users' own classes whose layers share their noise.

The check reads the traced program of the model's call. It gives every value an expression in terms of the inputs,
through calls, checkpoints and loops, and compares the expressions of the keys with which layers draw their noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import jax
from flax import nnx

from deepuq_jax._paths import dotted
from deepuq_jax.model.base import BaseModel
from deepuq_jax.model.expressions import NoiseUse, noise_uses
from deepuq_jax.model.state import with_streams
from deepuq_jax.model.structure import is_bayesian, is_module

_PACKAGE = __name__.split(".")[0]


class _Shapes(NamedTuple):
    """Hashable description of a pytree of arrays.

    Attributes:
        graphdef: the static part of a Flax NNX module; None for any other pytree.
        treedef: the structure of the pytree.
        shapes: the shapes and dtypes of its leaves.
    """

    graphdef: Any
    treedef: Any
    shapes: tuple[jax.ShapeDtypeStruct, ...]

    def build(self, leaves: Any) -> Any:
        tree = jax.tree.unflatten(self.treedef, leaves)
        return tree if self.graphdef is None else nnx.merge(self.graphdef, tree)


def refuse_shared_noise(model: Any, x: Any) -> None:
    """Refuse a user's class in which layers share noise.

    The models of this package are not checked, since they split their keys. The check runs once per structure of the
    model and shapes of its arrays and of the inputs.

    Args:
        model: a Bayesian model.
        x: inputs.
    Raises:
        ValueError: two layers draw with the same key; a layer is called without a key although the model was called
            with a key; or a key is the same at every step of a loop or `vmap` over which the layer's parameters vary.
    """
    if any(_is_own(node) for node in _nodes_above_layers(model)):
        problem = _problem(_described(model), _described(x))
        if problem is not None:
            raise ValueError(problem)


def _nodes_above_layers(model: Any) -> Iterator[Any]:
    """Yield the model, and its modules that hold Bayesian modules."""
    yield model
    if not isinstance(model, nnx.Module):
        return
    modules = dict(nnx.iter_modules(model))
    holders = {path[:i] for path, module in modules.items() if is_bayesian(module) for i in range(1, len(path))}
    for path in holders:
        if path in modules:
            yield modules[path]


def _is_own(node: Any) -> bool:
    """Whether a user wrote the class of a node."""
    package = type(node).__module__.split(".")[0]
    return package != "flax" and not (package == _PACKAGE and isinstance(node, BaseModel))


def _described(tree: Any) -> _Shapes:
    graphdef = None
    if isinstance(tree, nnx.Module):  # As a plain pytree, a module at two places would become two.
        graphdef, tree = nnx.split(tree)
    leaves, treedef = jax.tree.flatten(tree)
    types = map(jax.typeof, leaves)
    return _Shapes(graphdef, treedef, tuple(jax.ShapeDtypeStruct(each.shape, each.dtype) for each in types))


@lru_cache(maxsize=128)
def _problem(model: _Shapes, x: _Shapes) -> str | None:
    """Trace the call, and describe what is wrong with it."""

    def outputs(leaves: Any, inputs: Any, key: Any) -> Any:
        return _labelled(model.build(leaves))(x.build(inputs), key=key)

    key = jax.eval_shape(lambda: jax.random.key(0))
    program = jax.make_jaxpr(outputs)(list(model.shapes), list(x.shapes), key)
    return _first_problem(list(noise_uses(program)))


def _labelled(model: Any) -> Any:
    """Copy a model and label each layer with its dotted path."""

    def label(path: Any, node: Any) -> Any:
        if not isinstance(node, nnx.Module):
            return node
        copy = with_streams(node, None)
        layer: Any
        for below, layer in nnx.iter_modules(copy):
            if hasattr(layer, "noise_label"):
                layer.noise_label = ".".join(filter(None, [dotted(path), *map(str, below)]))
        return copy

    return jax.tree_util.tree_map_with_path(label, model, is_leaf=is_module)


def _first_problem(uses: list[NoiseUse]) -> str | None:
    of_key: dict[int, NoiseUse] = {}
    for use in uses:
        if not use.is_key:
            return (
                f"Expected each layer to be called with a key, as the model was; got none for {use.label!r}. "
                "Pass it a key of its own, as in self.layer(x, key=layer_key)."
            )
        if use.is_shared:
            return (
                f"Expected a key per layer in a loop or vmap over layers; got the same key at each step of "
                f"{use.label!r}. Split the key, as in jax.random.split(key, number_of_layers), and map over the keys."
            )
        first = of_key.setdefault(use.key, use)
        if first.label != use.label and not first.excludes(use):
            return (
                f"Expected noise of its own for each layer; got one key for {first.label!r} and {use.label!r}. "
                "Split the key, as in key_1, key_2 = jax.random.split(key), and pass a part to each layer."
            )
    return None
