"""Priors for the leaves of a pytree of weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._paths import dotted
from deepuq_jax._pytree import register
from deepuq_jax.priors.base import Prior, as_prior, is_prior


@register(static=("treedef",))
@dataclass(frozen=True)
class PriorTree:
    """A prior for each leaf of a pytree of weights.

    Attributes:
        priors: the priors in the order of the leaves.
        treedef: the tree structure of the weights.
    """

    priors: tuple[Prior, ...]
    treedef: Any

    @property
    def is_learned(self) -> bool:
        """Whether any of the priors is learned."""
        return any(prior.is_learned for prior in self.priors)

    @property
    def has_closed_form_kl(self) -> bool:
        """Whether the KL of every prior has a closed form."""
        return all(prior.has_closed_form_kl for prior in self.priors)


def priors_for(prior: Any, means: Any) -> Prior | PriorTree:
    """Turn the argument `prior` of a layer into priors.

    Args:
        prior: a prior for all weights, or a rule (path, leaf) -> prior that is applied to each leaf.
        means: the posterior means, a pytree of arrays.
    Returns:
        A prior for all weights, or a `PriorTree`.
    Raises:
        TypeError: `prior` is neither a prior nor a rule, or the rule returns something other than a prior.
    """
    if is_prior(prior) or not callable(prior) or isinstance(prior, type):
        return as_prior(prior)
    found, treedef = jax.tree_util.tree_flatten_with_path(means)
    priors = [as_prior(prior(dotted(path), leaf), f"the prior of {dotted(path)!r}") for path, leaf in found]
    return PriorTree(tuple(priors), treedef)


def as_prior_or_tree(prior: Any) -> Prior | PriorTree:
    """Convert anything but a `PriorTree` to a `Prior`."""
    return prior if isinstance(prior, PriorTree) else as_prior(prior)


def prior_by_leaf(prior: Any, like: Any) -> Any:
    """Replace every leaf of `like` by its prior."""
    if isinstance(prior, PriorTree):
        return prior.treedef.unflatten(prior.priors)
    one = as_prior(prior)
    return jax.tree.map(lambda _: one, like)


def each_weight(prior: Prior, function: Callable[..., Array], *tensors: Array) -> Array:
    """Evaluate a function of a prior at each weight.

    The methods of a prior return sums over a tensor; this function returns their terms. The arrays of the prior
    broadcast to the weights, and each weight gets its entry of them.

    Args:
        prior: the prior over the tensor.
        function: (prior, *entries) -> scalar.
        tensors: arrays of the same shape, whose entries are passed to `function`.
    Returns:
        The values, of the shape of the tensors.
    """
    shape = tensors[0].shape
    flat = [tensor.ravel() for tensor in tensors]
    spread = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, shape).ravel(), prior)
    return jax.vmap(function)(spread, *flat).reshape(shape)
