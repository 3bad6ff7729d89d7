"""Models from outside: find the Bayesian nodes, and split off what is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from deepuq_jax._paths import dotted
from deepuq_jax._pytree import register


def is_bayesian(node: Any) -> bool:
    """Whether `node` can be called and has a KL. (A Variable forwards attributes, so it would seem to.)"""
    return callable(node) and hasattr(node, "kl") and not isinstance(node, (nnx.Variable, type))


def bayesian_nodes(model: Any) -> list[tuple[str, Any]]:
    """The topmost Bayesian nodes of a pytree with their dotted paths, each once however many paths reach it."""
    found = jax.tree_util.tree_leaves_with_path(model, is_leaf=lambda node: is_bayesian(node) and node is not model)
    unique: dict[int, tuple[str, Any]] = {}
    for path, node in found:
        if is_bayesian(node):
            unique.setdefault(id(node), (dotted(path), node))
    return list(unique.values())


def refuse_tied(model: Any) -> None:
    """Refuse a module or Variable reached by two paths: as a pytree it would become two, and its KL count twice.

    `bayesianize` ties by itself, so a tied network goes through there.

    Raises:
        ValueError: one reached by two paths.
    """
    flatten_untied(model)


def flatten_untied(model: Any) -> tuple[list[Any], Any]:
    """The leaves and the treedef of a model, once `refuse_tied` has let it pass.

    Flattening a module takes as long as a small prediction, so that a compiled call is given its leaves and not the
    module, which it would flatten again.
    """
    leaves, treedef = jax.tree.flatten(model)
    # Going over the graph takes even longer; mostly the arrays alone tell that none is tied.
    if isinstance(model, nnx.Module) and (not leaves or len(set(map(id, leaves))) < len(leaves)):
        tied = [paths for paths in nnx.find_duplicates(model) if paths]
        if tied:
            names = " and ".join(".".join(map(str, path)) for path in tied[0])
            raise ValueError(
                f"Expected each module once in the model; got the same one at {names}. Use bayesianize(net)."
            )
    return leaves, treedef


class _Slot:
    """Where a Variable is in a module, and what it is apart from its value."""

    __slots__ = ("kind", "metadata", "name", "path")

    def __init__(self, path: tuple[Any, ...], variable: nnx.Variable[Any]):
        self.path = path
        self.name = _name(path)
        self.kind = type(variable)
        self.metadata = variable.get_metadata()

    def variable(self, values: dict[str, Any]) -> nnx.Variable[Any]:
        """The Variable with its value out of a dict by names."""
        return self.kind.from_metadata(values[self.name], dict(self.metadata))


def _name(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))


class Structure:
    """The static part of a Flax NNX module; equal for modules that are built alike.

    A compiled call compares it with the one it was compiled for. Comparing two graph definitions takes several
    microseconds and the same object a fraction of one, so identity is tried first.
    """

    def __init__(self, graphdef: Any, params: nnx.State[Any, Any], carried: nnx.State[Any, Any]):
        self._graphdef = graphdef
        self._params = tuple(_Slot(path, variable) for path, variable in nnx.to_flat_state(params))
        self._carried = tuple(_Slot(path, variable) for path, variable in nnx.to_flat_state(carried))
        self._hash = hash(graphdef)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Structure) and self._graphdef == other._graphdef)

    def __hash__(self) -> int:
        return self._hash

    def build(self, params: Any, carried: Any) -> Any:
        """The module with these values, dicts as `values_of` makes them."""
        items = [(slot.path, slot.variable(params)) for slot in self._params]
        items += [(slot.path, slot.variable(carried)) for slot in self._carried]
        return nnx.merge(self._graphdef, nnx.from_flat_state(items))


def values_of(state: nnx.State[Any, Any]) -> dict[str, Any]:
    """The values of a state's Variables by their dotted paths: one plain dict, which is quick to flatten."""
    return {_name(path): variable.get_raw_value() for path, variable in nnx.to_flat_state(state)}


@register(static=("structure",))
@dataclass(frozen=True)
class Rest:
    """What `partition` leaves beside the trained parameters; a pytree.

    Attributes:
        carried: arrays that are not trained: BatchNorm statistics, dropout streams, frozen weights, masks.
        structure: the static part of a Flax NNX module; None for any other pytree.
    """

    carried: Any
    structure: Structure | None

    def with_state(self, state: Any) -> Rest:
        """The rest with the state that a call handed out, as in `ELBOTerms.state`; itself where that is None."""
        if state is None:
            return self
        return Rest(values_of(state) if isinstance(state, nnx.State) else state, self.structure)


def partition(model: Any) -> tuple[Any, Rest]:
    """Split a model into what is trained and all else.

    In a Flax NNX module the `nnx.Param`s are trained; their values stand in a plain dict by dotted paths, such as
    "layers.0.kernel_posterior.mu". In any other pytree the floating arrays are trained.

    Args:
        model: a Bayesian model, or any module or pytree.
    Returns:
        (params, rest), two pytrees; `combine` puts them together.

    >>> from deepuq_jax import BayesianLinear
    >>> params, rest = partition(BayesianLinear(2, 1, rngs=nnx.Rngs(0)))
    >>> list(params)
    ['bias_posterior.mu', 'bias_posterior.rho', 'kernel_posterior.mu', 'kernel_posterior.rho']
    """
    if isinstance(model, nnx.Module):
        graphdef, params, carried = nnx.split(model, nnx.Param, ...)
        return values_of(params), Rest(values_of(carried), Structure(graphdef, params, carried))
    params = jax.tree.map(lambda leaf: leaf if _is_trained(leaf) else None, model)
    carried = jax.tree.map(lambda leaf: None if _is_trained(leaf) else leaf, model)
    return params, Rest(carried, None)


def combine(params: Any, rest: Rest) -> Any:
    """The model of these parameters and the rest, as `partition` split them.

    What is not trained enters through `stop_gradient`, so that no gradient step can change it.

    >>> from deepuq_jax import BayesianLinear
    >>> layer = BayesianLinear(2, 1, rngs=nnx.Rngs(0))
    >>> type(combine(*partition(layer))).__name__
    'BayesianLinear'
    """
    carried = jax.lax.stop_gradient(rest.carried)
    if rest.structure is not None:
        return rest.structure.build(params, carried)
    return join(params, carried)


def _is_trained(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)


def join(params: Any, carried: Any) -> Any:
    """Two pytrees as one, each with None where the other has a leaf."""
    return jax.tree.map(lambda p, c: c if p is None else p, params, carried, is_leaf=lambda leaf: leaf is None)
