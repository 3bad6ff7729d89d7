"""Models with held scales, as natural gradients train them.

A state of training holds the parts of such a model. Objectives and results get models with ordinary posteriors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from deepuq_jax._paths import dotted
from deepuq_jax.model.posteriors import resolved, with_changed
from deepuq_jax.model.structure import Rest, assemble
from deepuq_jax.model.variables import VariableTree
from deepuq_jax.posterior import GaussianPosterior, MeanField
from deepuq_jax.posterior.held_scale import HeldScale


def combine(params: Any, rest: Rest) -> Any:
    """Join the parts that `partition` returned, or those of a `TrainState`.

    The arrays in the rest pass through `stop_gradient`, so no gradient step can change them.

    >>> from deepuq_jax import BayesianLinear, partition
    >>> layer = BayesianLinear(2, 1, rngs=nnx.Rngs(0))
    >>> type(combine(*partition(layer))).__name__
    'BayesianLinear'
    """
    return _released(params, rest, HeldScale.plain, _as_plain)


def combine_for_step(params: Any, rest: Rest) -> Any:
    """Join the parts of a `TrainState` for an `ELBO`.

    The draws and the KL of its posteriors use the held scales.
    """
    return _released(params, rest, HeldScale.posterior, resolved)


def _released(
    params: Any,
    rest: Rest,
    change: Callable[[HeldScale], MeanField],
    hold: Callable[[VariableTree, MeanField], Any],
) -> Any:
    model = assemble(params, rest)
    return with_changed(model, _is_held, change, hold, nnx.Param) if _holds_scales(params) else model


def with_held_scales(model: Any) -> Any:
    """Copy a model whose trained posteriors hold their scales."""
    return with_changed(model, _is_plain, HeldScale.of, _as_held, nnx.Param)


def _holds_scales(params: Any) -> bool:
    paths = (path for path, _ in jax.tree_util.tree_leaves_with_path(params))
    return any("held_scale" in dotted(path).split(".") for path in paths)


def _is_held(node: Any) -> bool:
    return isinstance(node, HeldScale)


def _is_plain(node: Any) -> bool:
    # A subclass of one's own may have further fields, and keeps its rho.
    return type(node) in (MeanField, GaussianPosterior) and node.mask is None and node.scale is None


def _as_held(former: VariableTree, value: HeldScale) -> VariableTree:
    return VariableTree(value, nnx.Param, {_held_name(path): one for path, one in former.annotations.items()})


def _as_plain(former: VariableTree, value: MeanField) -> VariableTree:
    return VariableTree(value, nnx.Param, {_plain_name(path): one for path, one in former.annotations.items()})


def _held_name(path: str) -> str:
    """Return the path of an array of a `MeanField` in a `HeldScale`, where a scale has a `value`."""
    is_rho = path.split(".")[0] == "rho"
    return f"held_scale{path.removeprefix('rho')}.value" if is_rho else path


def _plain_name(path: str) -> str:
    """Return the path of an array of a `HeldScale` in a `MeanField`."""
    is_scale = path.split(".")[0] == "held_scale"
    return f"rho{path.removeprefix('held_scale').removesuffix('.value')}" if is_scale else path
