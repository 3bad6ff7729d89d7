"""Models with held scales, as natural gradients train them.

A state of training holds such a model. Objectives and results get ordinary posteriors.
"""

from __future__ import annotations

from typing import Any

from flax import nnx

from deepuq_jax.model.posteriors import resolved, with_changed
from deepuq_jax.model.variables import VariableTree
from deepuq_jax.posterior import GaussianPosterior, MeanField
from deepuq_jax.posterior.held_scale import HeldScale


def with_held_scales(model: Any) -> Any:
    """Copy a model whose trained posteriors hold their scales."""
    return with_changed(model, _is_plain, HeldScale.of, _trained_like, nnx.Param)


def with_posteriors_of_scales(model: Any) -> Any:
    """Copy a model for a step, in which each `HeldScale` is a posterior again."""
    return with_changed(model, _is_held, HeldScale.posterior, resolved, nnx.Param)


def with_stored_posteriors(model: Any) -> Any:
    """Copy a model after training, in which each `HeldScale` is a posterior again."""
    return with_changed(model, _is_held, HeldScale.stored, _trained_like, nnx.Param)


def _is_held(node: Any) -> bool:
    return isinstance(node, HeldScale)


def _is_plain(node: Any) -> bool:
    # A subclass of one's own may have further fields, and keeps its rho.
    return type(node) in (MeanField, GaussianPosterior) and node.mask is None and node.scale is None


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
