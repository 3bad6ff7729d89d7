"""Copy models with changed posteriors.

An objective or a prediction works with such a copy while it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
from flax import nnx

from deepuq_jax._checks import expected
from deepuq_jax.estimators import weight_sampling
from deepuq_jax.estimators.base import Estimator
from deepuq_jax.model.state import with_streams
from deepuq_jax.model.structure import is_module
from deepuq_jax.model.variables import ResolvedPosterior, VariableTree
from deepuq_jax.posterior import KLRule, MeanField


def with_changed(
    model: Any,
    is_chosen: Callable[[Any], bool],
    change: Callable[[Any], Any],
    hold: Callable[[VariableTree, Any], Any],
    kind: type[nnx.Variable[Any]] = nnx.Variable,
) -> Any:
    """Copy a model with changed parts.

    An object that an NNX module holds twice remains a single object in the copy.

    Args:
        model: any pytree.
        is_chosen: whether a node, or the value of a Variable or `VariableTree`, is to be changed.
        change: a function from a chosen node to the new node.
        hold: a function from a `VariableTree` and the new value to the attribute that takes its place.
        kind: the kind of the Variables in which to look.
    """

    def in_leaves(tree: Any) -> Any:
        return jax.tree.map(lambda node: change(node) if is_chosen(node) else node, tree, is_leaf=is_chosen)

    if not isinstance(model, nnx.Module):
        return in_leaves(model)
    graphdef, state, rest = nnx.split(model, kind, ...)
    # A user's own Variable may hold a posterior as its value.
    copy = nnx.merge(graphdef, in_leaves(state), rest)
    for _, module in nnx.iter_modules(copy):
        for name, attribute in list(vars(module).items()):
            if isinstance(attribute, VariableTree) and attribute.holds(kind) and is_chosen(attribute.get_value()):
                setattr(module, name, hold(attribute, change(attribute.get_value())))
    return copy


def with_posteriors(model: Any, change: Callable[[MeanField], MeanField]) -> Any:
    """Copy a model for a step or a prediction, with `change` applied to each posterior."""
    return with_changed(model, _is_posterior, change, resolved)


def resolved(former: VariableTree, value: Any) -> Any:
    """Hold the value of a posterior in a temporary copy."""
    del former
    return nnx.data(ResolvedPosterior(value))


def _is_posterior(node: Any) -> bool:
    return isinstance(node, MeanField)


def with_scales(model: Any) -> Any:
    """Copy a model with its standard deviations computed in advance.

    Draws and KL then use the stored values instead of computing them again.
    """
    return with_posteriors(model, MeanField.with_scale)


def with_kl_rule(model: Any, rule: KLRule) -> Any:
    """Copy a model whose posteriors compute their KL by `rule`.

    Raises:
        ValueError: the model holds no `MeanField`.
    """
    found: list[MeanField] = []

    def change(posterior: MeanField) -> MeanField:
        found.append(posterior)
        return replace(posterior, kl_rule=rule)

    copy = with_posteriors(model, change)
    if not found:
        raise ValueError(expected("model", "to hold a mean-field posterior", type(model).__name__))
    return copy


def with_drawn_weights(model: Any) -> Any:
    """Copy a model with weight sampling in every layer.

    Each draw is then a function of x, whichever estimators the layers use in training.
    """

    def change(node: Any) -> Any:
        if not isinstance(node, nnx.Module):
            return node
        node = with_streams(node, None)
        for layer in _estimated_layers(node):
            layer.estimator = nnx.static(weight_sampling)
        return node

    return jax.tree.map(change, model, is_leaf=is_module)


def estimators_of(model: Any) -> list[Estimator]:
    """Return the estimators of the layers of a model."""
    modules = filter(is_module, jax.tree.leaves(model, is_leaf=is_module))
    return [layer.estimator for module in modules for layer in _estimated_layers(module)]


def _estimated_layers(module: nnx.Module) -> list[Any]:
    layers = [layer for _, layer in nnx.iter_modules(module)]
    return [layer for layer in layers if isinstance(vars(layer).get("estimator"), Estimator)]
