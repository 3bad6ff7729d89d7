"""The Variables of modules, and pytrees of them.

The type of a Variable says whether its array is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.core import Tracer

from deepuq_jax._checks import expected
from deepuq_jax._paths import dotted
from deepuq_jax.model.annotations import Annotation, annotation_of, as_metadata
from deepuq_jax.priors.tree import PriorTree, priors_for


class CarriedPrior(nnx.Variable[Any]):
    """An array in a prior: carried, not trained."""


class FixedWeight(nnx.Variable[Any]):
    """A weight of a drawn model.

    It is not trained, but a gradient with respect to the posterior it was drawn from flows through it.
    """


class FixedArray(nnx.Variable[Any]):
    """An array of a drawn model that has no posterior; gradients flow through it, too."""


class FrozenWeight(nnx.Variable[Any]):
    """A weight that is kept as it is: carried, not trained."""


class PruneMask(nnx.Variable[Any]):
    """Booleans shaped like a posterior's means, True for kept weights.

    They are carried, not trained.
    """


class ResolvedPosterior(nnx.Variable[Any]):
    """A posterior's value in a temporary model copy.

    An objective or a prediction works with the copy. The value replaces the `VariableTree` of the posterior's
    parameters, and gradients flow through it.
    """


class VariableTree(nnx.Module):
    """A module that holds a pytree of Variables.

    Each Variable is an attribute named by the dotted path of its array. Every transformation and optimizer of Flax
    therefore sees plain Variables, and `get_value` rebuilds the pytree. (A `Param` that holds a dataclass would break
    `nnx.Optimizer`.)

    Args:
        tree: the pytree.
        kind: the type of the Variables, which says whether the arrays are trained; or a function of an array that
            returns it.
        annotations: how the annotated arrays lie over a mesh, keyed by their dotted paths.

    >>> held = VariableTree({"a": jnp.zeros(2), "b": [jnp.ones(1)]}, nnx.Param)
    >>> list(nnx.state(held)), held.get_value()["b"]
    (['a', 'b.0'], [Array([1.], dtype=float32)])
    """

    def __init__(
        self,
        tree: Any,
        kind: type[nnx.Variable[Any]] | Callable[[Any], type[nnx.Variable[Any]]],
        annotations: Mapping[str, Annotation] | None = None,
    ):
        found, treedef = jax.tree_util.tree_flatten_with_path(tree)
        names = tuple(dotted(path) or "value" for path, _ in found)
        if len(set(names)) < len(names):
            raise ValueError(expected("the paths of arrays", "to differ when written with dots", ", ".join(names)))
        self._names = nnx.static(names)
        self._treedef = nnx.static(treedef)
        for name, (_, leaf) in zip(names, found, strict=True):
            own = kind if isinstance(kind, type) else kind(leaf)
            setattr(self, name, own(leaf, **as_metadata((annotations or {}).get(name, {}))))

    def __getattr__(self, name: str) -> Any:
        """Forward to the pytree's attributes, such as a posterior's `sigma`.

        Variables forward attributes in the same way.
        """
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.get_value(), name)

    def holds(self, kind: type[nnx.Variable[Any]]) -> bool:
        """Whether every array is in a Variable of this kind."""
        return all(isinstance(getattr(self, name), kind) for name in self._names)

    @property
    def annotations(self) -> dict[str, Annotation]:
        """How the arrays lie over a mesh, by path."""
        return {name: annotation_of(getattr(self, name).get_metadata()) for name in self._names}

    def get_value(self) -> Any:
        """Return the pytree, with carried arrays under `stop_gradient`."""
        return self._treedef.unflatten([value_of(getattr(self, name)) for name in self._names])

    def set_value(self, tree: Any) -> None:
        """Write a pytree of the same structure.

        Raises:
            ValueError: the structure differs.
        """
        leaves, treedef = jax.tree.flatten(tree)
        if treedef != self._treedef:
            raise ValueError(expected("tree", f"of structure {self._treedef}", f"{treedef}"))
        for name, leaf in zip(self._names, leaves, strict=True):
            getattr(self, name).set_value(leaf)


# The Variables through which gradients flow: trained parameters, and the arrays of a draw, which are functions of them.
_DIFFERENTIABLE = (nnx.Param, ResolvedPosterior, FixedWeight, FixedArray)


def value_of(variable: nnx.Variable[Any]) -> Any:
    """Return the value of a Variable.

    A carried array is under `stop_gradient`, so a loop that differentiates the whole model, and not only its
    parameters, leaves it as it is.
    """
    value = variable.get_value()
    return value if isinstance(variable, _DIFFERENTIABLE) else jax.tree.map(_stopped, value)


def _stopped(leaf: Any) -> Any:
    # Outside of a trace there is no gradient, and the call would only take time.
    return jax.lax.stop_gradient(leaf) if isinstance(leaf, Tracer) else leaf


def unwrap(attribute: Any) -> Any:
    """Return the value of a Variable or `VariableTree`.

    Carried arrays are under `stop_gradient`. Anything else is returned as it is.
    """
    if isinstance(attribute, nnx.Variable):
        return value_of(attribute)
    return attribute.get_value() if isinstance(attribute, VariableTree) else attribute


def copied(tree: Any) -> Any:
    """Copy a pytree's arrays into new buffers.

    Training donates its buffers; the copy preserves the caller's network.
    """
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), tree)


def hold_prior(prior: Any, means: Any) -> Any:
    """Turn a layer's argument `prior` into an attribute.

    A prior without arrays becomes static, and a prior with arrays is held in Variables.

    Args:
        prior: a prior, or a rule (path, leaf) -> prior.
        means: the means of the posteriors that the prior applies to.
    Raises:
        TypeError: `prior` is not a prior, or is neither hashable nor a pytree.
        ValueError: a rule mixes a learned prior with priors that hold arrays.
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
    """Return the posterior at attribute `name`, masked by `prune_mask`.

    Returns:
        The posterior, or None if the attribute is None.
    """
    posterior, mask = unwrap(getattr(owner, name)), unwrap(owner.prune_mask)
    return posterior if posterior is None or mask is None else posterior.masked(mask[name])
