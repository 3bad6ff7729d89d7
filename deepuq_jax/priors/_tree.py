"""One prior for each leaf of a pytree: what a rule becomes, and how priors meet posteriors leaf by leaf."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import expected
from deepuq_jax._paths import dotted


def is_prior(value: Any) -> bool:
    """Whether `value` is a density over weights, or gives one for a posterior."""
    return hasattr(value, "log_prob") or hasattr(value, "given")


def is_opaque(prior: Any) -> bool:
    """Whether JAX sees no pytree in it: then it is static as a whole."""
    leaves = jax.tree.leaves(prior)
    return len(leaves) == 1 and leaves[0] is prior


@jax.tree_util.register_pytree_with_keys_class
@dataclass(frozen=True)
class PriorTree:
    """A prior for each leaf of a pytree of weights.

    Attributes:
        priors: in the order of the leaves.
        treedef: of the weights.
    """

    priors: tuple[Any, ...]
    treedef: Any

    @property
    def is_learned(self) -> bool:
        """Whether one of them is."""
        return any(getattr(prior, "is_learned", False) for prior in self.priors)

    def map(self, function: Callable[[Any], Any]) -> PriorTree:
        """`function` of each prior."""
        return PriorTree(tuple(map(function, self.priors)), self.treedef)

    def tree_flatten_with_keys(self):
        """Priors that are pytrees as children, the others static."""
        static = tuple(prior if is_opaque(prior) else None for prior in self.priors)
        children = [
            (jax.tree_util.SequenceKey(i), prior)
            for i, (prior, own) in enumerate(zip(self.priors, static, strict=True))
            if own is None
        ]
        return children, (static, self.treedef)

    @classmethod
    def tree_unflatten(cls, aux, children):
        """The inverse of flattening."""
        static, treedef = aux
        children = iter(children)
        return cls(tuple(next(children) if own is None else own for own in static), treedef)


def resolve_prior(prior: Any, means: Any) -> Any:
    """A prior as it is; a rule (path, leaf) -> prior applied to every leaf of `means`, as a `PriorTree`."""
    if is_prior(prior) or not callable(prior):
        return prior
    found, treedef = jax.tree_util.tree_flatten_with_path(means)
    priors = []
    for path, leaf in found:
        priors.append(prior(dotted(path), leaf))
        if not is_prior(priors[-1]):
            what = "to have a method log_prob(w)"
            raise TypeError(expected(f"the prior of {dotted(path)!r}", what, priors[-1]))
    return PriorTree(tuple(priors), treedef)


def prior_by_leaf(prior: Any, like: Any) -> Any:
    """A pytree like `like` with a prior in place of every leaf."""
    if isinstance(prior, PriorTree):
        return prior.treedef.unflatten(prior.priors)
    return jax.tree.map(lambda _: prior, like)


def given(prior: Any, mu: Array, rho: Array, mask: Array | None) -> Any:
    """The density that a prior is for a tensor under N(mu, softplus(rho)^2): its own, unless it asks for the two."""
    return prior.given(mu, rho, mask) if hasattr(prior, "given") else prior


def each_weight(prior: Any, function: Callable[..., Array], *tensors: Array) -> Array:
    """`function` of the prior and of the entries of `tensors` one by one: their shape, where priors only give sums.

    A prior's arrays broadcast to the weights: each weight gets its own entry of them.
    """
    shape = tensors[0].shape
    flat = [tensor.ravel() for tensor in tensors]
    if is_opaque(prior):
        return jax.vmap(lambda *entries: function(prior, *entries))(*flat).reshape(shape)
    spread = lambda leaf: jnp.broadcast_to(leaf, shape).ravel()
    return jax.vmap(function)(jax.tree.map(spread, prior), *flat).reshape(shape)
