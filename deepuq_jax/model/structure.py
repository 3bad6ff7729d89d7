"""Find Bayesian nodes, and partition models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from deepuq_jax._paths import dotted
from deepuq_jax._pytree import register


def is_module(node: Any) -> bool:
    """Whether `node` is an NNX module."""
    return isinstance(node, nnx.Module)


def is_bayesian(node: Any) -> bool:
    """Whether `node` can be called and has a KL.

    Variables are excluded: they forward attributes and would otherwise seem to have a KL.
    """
    return callable(node) and hasattr(node, "kl") and not isinstance(node, (nnx.Variable, type))


def bayesian_nodes(model: Any) -> list[tuple[str, Any]]:
    """Find the topmost Bayesian nodes of a pytree.

    Returns:
        (dotted path, node) per node. A node that several paths reach is listed once, under its first path.
    """
    found = jax.tree_util.tree_leaves_with_path(model, is_leaf=lambda node: is_bayesian(node) and node is not model)
    unique: dict[int, tuple[str, Any]] = {}
    for path, node in found:
        if is_bayesian(node):
            unique.setdefault(id(node), (dotted(path), node))
    return list(unique.values())


def refuse_tied(model: Any) -> None:
    """Refuse models in which two paths reach one object.

    As a pytree, a module or Variable reached by two paths would become two, and its KL would count twice.
    `bayesianize` keeps tied parameters tied, so tied networks should go through it.

    Raises:
        ValueError: two paths reach the same module or Variable.
    """
    flatten_untied(model)


def flatten_untied(model: Any) -> tuple[list[Any], Any]:
    """Flatten a model, unless `refuse_tied` refuses it.

    Flattening a module takes as long as a small prediction. A compiled call therefore takes the leaves instead of the
    module, which it would flatten again.

    Returns:
        (leaves, treedef)
    """
    leaves, treedef = jax.tree.flatten(model)
    # Searching the graph takes even longer, and usually the arrays alone show that nothing is tied.
    if isinstance(model, nnx.Module) and (not leaves or len(set(map(id, leaves))) < len(leaves)):
        tied = [paths for paths in nnx.find_duplicates(model) if paths]
        if tied:
            names = " and ".join(".".join(map(str, path)) for path in tied[0])
            raise ValueError(
                f"Expected each module once in the model; got the same object at {names}. Use bayesianize(net)."
            )
    return leaves, treedef


class _Slot:
    """The path, type and metadata of a module's Variable."""

    __slots__ = ("kind", "metadata", "name", "path")

    def __init__(self, path: tuple[Any, ...], variable: nnx.Variable[Any]):
        self.path = path
        self.name = _name(path)
        self.kind = type(variable)
        self.metadata = variable.get_metadata()

    def variable(self, values: dict[str, Any]) -> nnx.Variable[Any]:
        """Build the Variable with its value in `values`."""
        return self.kind.from_metadata(values[self.name], dict(self.metadata))


def _name(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))


class Structure:
    """The static part of a Flax NNX module.

    Modules that are built alike have equal structures. A compiled call compares the structure it is given with the
    structure it was compiled for. Comparing two graph definitions takes several microseconds, and comparing identities
    a fraction of a microsecond, so identity is tried first.
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
        """Build the module from dicts as returned by `values_of`."""
        items = [(slot.path, slot.variable(params)) for slot in self._params]
        items += [(slot.path, slot.variable(carried)) for slot in self._carried]
        return nnx.merge(self._graphdef, nnx.from_flat_state(items))


def values_of(state: nnx.State[Any, Any]) -> dict[str, Any]:
    """Return a state's values, keyed by dotted path.

    A plain dict is quick to flatten.
    """
    return {_name(path): variable.get_raw_value() for path, variable in nnx.to_flat_state(state)}


@register(static=("structure",))
@dataclass(frozen=True)
class Rest:
    """The part of a model besides its trained parameters.

    It is a pytree, which `partition` returns.

    Attributes:
        carried: arrays that are not trained: BatchNorm statistics, dropout streams, frozen weights, masks.
        structure: the static part of a Flax NNX module; None for any other pytree.
    """

    carried: Any
    structure: Structure | None

    def with_state(self, state: Any) -> Rest:
        """Update the carried state after a call.

        `state` is the state that a call returned, as in `ELBOTerms.state`. If it is None, the rest stays unchanged.
        """
        if state is None:
            return self
        return Rest(values_of(state) if isinstance(state, nnx.State) else state, self.structure)


def partition(model: Any) -> tuple[Any, Rest]:
    """Split a model into trained parameters and rest.

    In a Flax NNX module the `nnx.Param`s are trained; their values are returned in a plain dict keyed by dotted path,
    such as "layers.0.kernel_posterior.mu". In any other pytree the floating arrays are trained.

    Args:
        model: a Bayesian model, or any module or pytree.
    Returns:
        (params, rest), two pytrees that `combine` joins again.

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


def assemble(params: Any, rest: Rest) -> Any:
    """Join parameters and rest as they are.

    `combine` also turns held scales into ordinary posteriors.
    """
    carried = jax.lax.stop_gradient(rest.carried)
    if rest.structure is not None:
        return rest.structure.build(params, carried)
    return join(params, carried)


def _is_trained(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)


def join(params: Any, carried: Any) -> Any:
    """Join two pytrees with complementary leaves.

    Each has None in place of the other's leaves.
    """
    return jax.tree.map(lambda p, c: c if p is None else p, params, carried, is_leaf=lambda leaf: leaf is None)
