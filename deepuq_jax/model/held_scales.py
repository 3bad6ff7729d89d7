"""Models with held scales, as natural gradients train them.

A state of training holds such a model. Objectives and results get ordinary posteriors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from deepuq_jax.model.variables import ResolvedPosterior, VariableTree
from deepuq_jax.posterior import MeanField
from deepuq_jax.posterior.held_scale import HeldScale

# (holder of the former value, new value) -> the attribute that takes its place.
Hold = Callable[[VariableTree, Any], Any]


def with_held_scales(model: Any) -> Any:
    """Copy a model whose trained posteriors hold their scales."""
    return _changed(model, _is_trained_posterior, HeldScale.of, _trained_like)


def with_posteriors_of_scales(model: Any) -> Any:
    """Copy a model for a step, in which each `HeldScale` is a posterior again."""
    return _changed(model, _is_held, HeldScale.posterior, lambda _, value: nnx.data(ResolvedPosterior(value)))


def with_stored_posteriors(model: Any) -> Any:
    """Copy a model after training, in which each `HeldScale` is a posterior again."""
    return _changed(model, _is_held, HeldScale.stored, _trained_like)


def _is_held(node: Any) -> bool:
    return isinstance(node, HeldScale)


def _is_trained_posterior(node: Any) -> bool:
    return isinstance(node, MeanField) and node.mask is None and node.scale is None


def _changed(model: Any, is_chosen: Callable[[Any], bool], change: Callable[[Any], Any], hold: Hold) -> Any:
    def in_leaves(tree: Any) -> Any:
        return jax.tree.map(lambda node: change(node) if is_chosen(node) else node, tree, is_leaf=is_chosen)

    if not isinstance(model, nnx.Module):
        return in_leaves(model)
    graphdef, state = nnx.split(model)
    copy = nnx.merge(graphdef, in_leaves(state))
    for _, module in nnx.iter_modules(copy):
        for name, attribute in list(vars(module).items()):
            if isinstance(attribute, VariableTree) and attribute.is_trained and is_chosen(attribute.get_value()):
                setattr(module, name, hold(attribute, change(attribute.get_value())))
    return copy


def _trained_like(former: VariableTree, value: Any) -> VariableTree:
    """Hold a value whose arrays lie over a mesh as the former ones do.

    The paths of rho and of the scales differ.
    """
    names = {"rho": "scale", "scale": "rho"}
    annotations = {}
    for path, annotation in former.annotations.items():
        field, *rest = path.split(".")
        rest = [*rest, "value"] if field == "rho" else rest[:-1] if field == "scale" else rest
        annotations[".".join([names.get(field, field), *rest])] = annotation
    return VariableTree(value, nnx.Param, annotations)
