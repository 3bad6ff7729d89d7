"""Copies of a model whose posteriors are changed, for the time of one objective or prediction."""

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
from deepuq_jax.model.variables import ResolvedPosterior, VariableTree
from deepuq_jax.posterior import KLRule, MeanField


def with_posteriors(model: Any, change: Callable[[MeanField], MeanField]) -> Any:
    """A copy of a model with `change` of each posterior in it; what an NNX module holds twice stays one."""
    if not isinstance(model, nnx.Module):
        return _changed_leaves(model, change)
    graphdef, state = nnx.split(model)
    # Posteriors that a Variable of a user's own holds as a value.
    copy = nnx.merge(graphdef, _changed_leaves(state, change))
    for _, module in nnx.iter_modules(copy):
        for name, attribute in list(vars(module).items()):
            if isinstance(attribute, VariableTree) and _is_posterior(attribute.get_value()):
                setattr(module, name, nnx.data(ResolvedPosterior(change(attribute.get_value()))))
    return copy


def _changed_leaves(tree: Any, change: Callable[[MeanField], MeanField]) -> Any:
    return jax.tree.map(lambda node: change(node) if _is_posterior(node) else node, tree, is_leaf=_is_posterior)


def _is_posterior(node: Any) -> bool:
    return isinstance(node, MeanField)


def with_scales(model: Any) -> Any:
    """A copy whose posteriors have computed their standard deviations, so that no draw and no KL does it again."""
    return with_posteriors(model, MeanField.with_scale)


def with_kl_rule(model: Any, rule: KLRule) -> Any:
    """A copy whose posteriors compute their KL by this rule.

    Raises:
        ValueError: no `MeanField` in the model.
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
    """A copy whose layers all draw their weights, so that each draw is one function of x, whatever they train with."""

    def change(node: Any) -> Any:
        if not isinstance(node, nnx.Module):
            return node
        node = with_streams(node, None)
        layers: list[Any] = [layer for _, layer in nnx.iter_modules(node)]
        for layer in layers:
            if isinstance(vars(layer).get("estimator"), Estimator):
                layer.estimator = nnx.static(weight_sampling)
        return node

    return jax.tree.map(change, model, is_leaf=lambda node: isinstance(node, nnx.Module))
