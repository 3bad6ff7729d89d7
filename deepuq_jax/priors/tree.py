"""One prior for each leaf of a pytree of weights: what a rule becomes, and how priors meet posteriors."""

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
        priors: in the order of the leaves.
        treedef: of the weights.
    """

    priors: tuple[Prior, ...]
    treedef: Any

    @property
    def is_learned(self) -> bool:
        """Whether one of them is."""
        return any(prior.is_learned for prior in self.priors)

    @property
    def has_closed_form_kl(self) -> bool:
        """Whether all of them have one."""
        return all(prior.has_closed_form_kl for prior in self.priors)


def priors_for(prior: Any, means: Any) -> Prior | PriorTree:
    """The argument `prior` of a layer: one prior for all weights, or a rule (path, leaf) -> prior applied to each leaf.

    Raises:
        TypeError: neither a prior nor a rule, or a rule that does not give one.
    """
    if is_prior(prior) or not callable(prior) or isinstance(prior, type):
        return as_prior(prior)
    found, treedef = jax.tree_util.tree_flatten_with_path(means)
    priors = [as_prior(prior(dotted(path), leaf), f"the prior of {dotted(path)!r}") for path, leaf in found]
    return PriorTree(tuple(priors), treedef)


def as_prior_or_tree(prior: Any) -> Prior | PriorTree:
    """A `PriorTree` as it is, anything else as a `Prior`."""
    return prior if isinstance(prior, PriorTree) else as_prior(prior)


def prior_by_leaf(prior: Any, like: Any) -> Any:
    """A pytree like `like` with a prior in place of every leaf."""
    if isinstance(prior, PriorTree):
        return prior.treedef.unflatten(prior.priors)
    one = as_prior(prior)
    return jax.tree.map(lambda _: one, like)


def each_weight(prior: Prior, function: Callable[..., Array], *tensors: Array) -> Array:
    """`function` of the prior and of the entries of `tensors`, one by one: their shape, where priors only give sums.

    A prior's arrays broadcast to the weights: each weight gets its own entry of them.
    """
    shape = tensors[0].shape
    flat = [tensor.ravel() for tensor in tensors]
    spread = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, shape).ravel(), prior)
    return jax.vmap(function)(spread, *flat).reshape(shape)
