"""What modules hold: arrays in Variables that say whether they are trained, and pytrees of them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from deepuq_jax._checks import expected
from deepuq_jax._paths import dotted
from deepuq_jax.priors.tree import PriorTree, priors_for


class CarriedPrior(nnx.Variable[Any]):
    """An array of a prior: carried through training, not trained."""


class FixedWeight(nnx.Variable[Any]):
    """A weight that is not trained."""


class PruneMask(nnx.Variable[Any]):
    """Which weights are kept: booleans of the shape of a posterior's means; carried, not trained."""


class ResolvedPosterior(nnx.Variable[Any]):
    """A posterior as a value, in a copy of a model that one objective or prediction works with.

    It stands in the place of the `VariableTree` that holds the posterior's parameters: gradients flow through it.
    """


class VariableTree(nnx.Module):
    """A pytree of arrays as a module: one Variable per array, an attribute named by its dotted path.

    Every transformation and optimizer of Flax sees plain Variables, and the pytree is put together again when it is
    asked for: a `Param` that holds a dataclass would break `nnx.Optimizer`.

    Args:
        tree: the pytree.
        kind: the type of Variable, which says whether the arrays are trained.

    >>> held = VariableTree({"a": jnp.zeros(2), "b": [jnp.ones(1)]}, nnx.Param)
    >>> list(nnx.state(held)), held.get_value()["b"]
    (['a', 'b.0'], [Array([1.], dtype=float32)])
    """

    def __init__(self, tree: Any, kind: type[nnx.Variable[Any]]):
        found, treedef = jax.tree_util.tree_flatten_with_path(tree)
        names = tuple(dotted(path) or "value" for path, _ in found)
        if len(set(names)) < len(names):
            raise ValueError(expected("the paths of arrays", "to differ when written with dots", ", ".join(names)))
        self._names = nnx.static(names)
        self._treedef = nnx.static(treedef)
        for name, (_, leaf) in zip(names, found, strict=True):
            setattr(self, name, kind(leaf))

    def __getattr__(self, name: str) -> Any:
        """An attribute of the pytree, such as `sigma` of a posterior; Variables forward theirs in the same way."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.get_value(), name)

    def get_value(self) -> Any:
        """The pytree."""
        return self._treedef.unflatten([getattr(self, name).get_value() for name in self._names])

    def set_value(self, tree: Any) -> None:
        """Write another pytree of the same structure.

        Raises:
            ValueError: another structure.
        """
        leaves, treedef = jax.tree.flatten(tree)
        if treedef != self._treedef:
            raise ValueError(expected("tree", f"of structure {self._treedef}", f"{treedef}"))
        for name, leaf in zip(self._names, leaves, strict=True):
            getattr(self, name).set_value(leaf)


def unwrap(attribute: Any) -> Any:
    """The value of a Variable or of a `VariableTree`; anything else as it is."""
    return attribute.get_value() if isinstance(attribute, (nnx.Variable, VariableTree)) else attribute


def copied(tree: Any) -> Any:
    """The same arrays in buffers of their own: training donates its buffers, and the caller keeps the network."""
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), tree)


def hold_prior(prior: Any, means: Any) -> Any:
    """The argument `prior` of a layer as an attribute of it: static without arrays, else Variables of its own.

    Args:
        prior: a prior, or a rule (path, leaf) -> prior.
        means: of the posteriors under it.
    Raises:
        TypeError: no prior, or one that is neither hashable nor a pytree. ValueError: arrays beside a learned prior.
    """
    held = priors_for(prior, means)
    if held.is_learned:
        beside = [one for one in held.priors if not one.is_learned] if isinstance(held, PriorTree) else []
        if jax.tree.leaves(beside):
            raise ValueError(expected("priors beside a learned one", "to hold plain numbers", "arrays"))
        return VariableTree(copied(held), nnx.Param)
    if jax.tree.leaves(held):
        return VariableTree(copied(held), CarriedPrior)
    try:
        hash(held)
    except TypeError as error:
        raise TypeError(expected("prior", "to be hashable, or a pytree of arrays", prior)) from error
    return nnx.static(held)


def posterior_of(owner: Any, name: str) -> Any:
    """The posterior that is the attribute `name`, under the prune mask beside it; None where there is none."""
    posterior, mask = unwrap(getattr(owner, name)), unwrap(owner.prune_mask)
    return posterior if posterior is None or mask is None else posterior.masked(mask[name])
