"""The model protocol, seen from outside: find the Bayesian nodes, split off what is trained, call, draw.

Objective, training and prediction go through these functions and know nothing else about a model.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextvars import ContextVar
from functools import reduce
from operator import getitem
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from deepuq_jax._checks import check_key, check_one_of, expected
from deepuq_jax._noise import draw_key
from deepuq_jax._paths import dotted
from deepuq_jax.estimators import weight_sampling
from deepuq_jax.posterior import MeanField, map_posteriors
from deepuq_jax.priors._tree import PriorTree, is_opaque, is_prior


class CarriedPrior(nnx.Variable):
    """A prior with arrays in it: carried through training, not trained."""


class FixedWeight(nnx.Variable):
    """Weights that are not trained."""


class PruneMask(nnx.Variable):
    """Which weights are kept, booleans like the means of each posterior beside it, by name: carried, not trained."""


def hold_prior(prior: Any) -> Any:
    """`prior` as an attribute of a module: static where it holds no arrays, else a carried Variable, or a trained one.

    Raises:
        TypeError: no prior, or one that is neither hashable nor a pytree. ValueError: arrays beside a learned prior.
    """
    priors = prior.priors if isinstance(prior, PriorTree) else (prior,)
    for one in priors:
        if not is_prior(one):
            raise TypeError(expected("prior", "to have a method log_prob(w)", one))
    if getattr(prior, "is_learned", False):
        if any(jax.tree.leaves(one) for one in priors if not (getattr(one, "is_learned", False) or is_opaque(one))):
            raise ValueError(expected("priors beside a learned one", "to hold plain numbers", "arrays"))
        # A copy: one object may be the prior of several layers, each of which trains its own.
        return nnx.Param(jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), prior))
    if jax.tree.leaves(prior) and not is_opaque(prior):
        return CarriedPrior(prior)
    try:
        hash(prior)
    except TypeError as error:
        raise TypeError(expected("prior", "to be hashable, or a pytree of arrays", prior)) from error
    return nnx.static(prior)


def posterior_of(owner: Any, name: str) -> Any:
    """The posterior that is the attribute `name`, under the prune mask beside it; None where there is none."""
    posterior, mask = unwrap(getattr(owner, name)), unwrap(owner.prune_mask)
    return posterior if posterior is None or mask is None else posterior.masked(mask[name])


def unwrap(attribute: Any) -> Any:
    """The value of a Variable; anything else as it is."""
    return attribute.get_value() if isinstance(attribute, nnx.Variable) else attribute


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
    """
    if not isinstance(model, nnx.Module):
        return
    # Going over the graph takes as long as a small prediction; mostly the arrays alone tell that none is tied.
    leaves = jax.tree.leaves(model)
    if leaves and len(set(map(id, leaves))) == len(leaves):
        return
    tied = [paths for paths in nnx.find_duplicates(model) if paths]
    if tied:
        names = " and ".join(".".join(map(str, path)) for path in tied[0])
        raise ValueError(f"Expected each module once in the model; got the same one at {names}. Use bayesianize(net).")


def split_params(model: Any) -> tuple[Any, Any, Callable[[Any, Any], Any]]:
    """What is trained, what is carried, and the function that puts them together again.

    In an NNX module the Params are trained, their values in nested dicts (going in and out of a compiled step, these
    take a quarter of the time of an `nnx.State`, and an optimizer's state is some copies of them); in any other pytree
    the floating leaves are.

    >>> from deepuq_jax import BayesianLinear
    >>> params, carried, merge = split_params(BayesianLinear(2, 1, rngs=nnx.Rngs(0)))
    >>> sorted(params)
    ['bias_posterior', 'kernel_posterior']
    """
    if isinstance(model, nnx.Module):
        graphdef, params, carried = nnx.split(model, nnx.Param, ...)
        values = nnx.to_pure_dict(params, lambda param: param.get_raw_value())
        return values, carried, lambda values, carried: nnx.merge(graphdef, _with_values(params, values), carried)
    is_trained = lambda leaf: hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)
    params = jax.tree.map(lambda leaf: leaf if is_trained(leaf) else None, model)
    carried = jax.tree.map(lambda leaf: None if is_trained(leaf) else leaf, model)
    return params, carried, join


def _with_values(params: Any, values: Any) -> Any:
    """The Params of a state with other values. A value may be a dict itself: dicts alone do not tell where it is."""
    flat = [(path, param.copy(reduce(getitem, path, values))) for path, param in nnx.to_flat_state(params)]
    return nnx.from_flat_state(flat)


def join(params: Any, carried: Any) -> Any:
    """Two pytrees as one, each with None where the other has a leaf."""
    return jax.tree.map(lambda p, c: c if p is None else p, params, carried, is_leaf=lambda leaf: leaf is None)


# Whether the call that is running hands changed state out, so that a model inside another writes to its own Variables.
_hands_state_out: ContextVar[bool] = ContextVar("hands_state_out", default=False)
# Apart from the numbers that number a key's draws and leaves.
_STREAMS = 0x5EED


def call_with_state(model: Any, x: Any, **source: Any) -> tuple[Any, Any]:
    """Outputs of one draw (or of the means), and the carried state as the call left it (None where there is none).

    The model itself stays as it was. With a key, dropout and other streams start anew from it: never from a stored
    count, so a key is a function. They come out as they went in; what else the model wrote (BatchNorm statistics in
    training mode) comes out changed.
    """
    if hasattr(model, "call_with_state") and not isinstance(model, Stateful):
        return model.call_with_state(x, **source)
    return apply_to_copy(lambda fresh: fresh(x, **source), model, source.get("key"))


def apply_to_copy(function: Callable[[Any], Any], model: Any, key: Array | None) -> tuple[Any, Any]:
    """`function` of a copy of the model, its streams from `key`, and the carried state after it (None without any)."""
    carried = split_params(model)[1] if isinstance(model, nnx.Module) else None
    is_stateful = bool(jax.tree.leaves(carried))
    # A model of this trace's own, so that writing to its Variables is allowed and leaves the caller's alone.
    fresh = with_streams(model, key) if is_stateful else model
    token = _hands_state_out.set(True)
    try:
        result = function(fresh)
    finally:
        _hands_state_out.reset(token)
    return result, keep_streams(carried, split_params(fresh)[1]) if is_stateful else None


def with_streams(model: Any, key: Array | None) -> Any:
    """A copy of an NNX module whose streams are those of `key` (as they were, without one)."""
    params, carried, merge = split_params(model)
    return merge(params, own_variables(carried) if key is None else reseed(carried, key))


class Stateful:
    """A model whose call is pure, although members of it write to their Variables: it has `_forward`, of the same
    arguments as a call, which may write.

    Called alone it forgets what was written; `call_with_state` hands it out, of a model inside another too.
    """

    def __call__(self, x: Any, *, key: Array | None = None, noise: Any = None) -> Any:
        """Outputs of one draw from `key` or `noise`, else at the posterior means."""
        source = _source(key, noise)
        if not _hands_state_out.get():
            return call_with_state(self, x, **source)[0]
        if key is not None:  # Inside another model: this one's streams are of this one's key.
            nnx.update(self, streams_of(split_params(self)[1], key))
        return self._forward(x, **source)

    def call_with_state(self, x: Any, *, key: Array | None = None, noise: Any = None) -> tuple[Any, Any]:
        """The outputs, and the carried state as the call left it (BatchNorm statistics in training mode)."""
        return call_with_state(self, x, **_source(key, noise))

    @abstractmethod
    def _forward(self, x: Any, *, key: Array | None = None, noise: Any = None) -> Any:
        """The call itself, which may write to Variables."""


def _source(key: Array | None, noise: Any) -> dict[str, Any]:
    """The one of the two that was given; the key, which may be None, where there is no noise."""
    check_one_of("key and noise", key, noise)
    return {"key": key} if noise is None else {"noise": noise}


def own_variables(state: Any) -> Any:
    """The same state in Variables of its own, so that a network may write to them and the caller's stay as they are."""
    return jax.tree.map(lambda leaf: leaf, state)


def reseed(state: Any, key: Array) -> Any:
    """A copy of a network's state whose streams (dropout) start anew from `key`, their counts at zero."""
    state = own_variables(state)
    key = stream_key(key)
    for i, stream in enumerate(variables_of(state, nnx.RngKey)):
        stored = stream.get_value()
        data = jax.random.split(jax.random.fold_in(key, i), stored.size).reshape(stored.shape)
        stream.set_value(data if jnp.issubdtype(stored.dtype, jax.dtypes.prng_key) else jax.random.key_data(data))
    for count in variables_of(state, nnx.RngCount):
        count.set_value(jnp.zeros_like(count.get_value()))
    return state


def stream_key(key: Array) -> Array:
    """What dropout and other streams of a call with `key` are drawn from."""
    return jax.random.fold_in(key, _STREAMS)


def streams_of(state: Any, key: Array) -> Any:
    """The streams of `reseed(state, key)` alone."""
    flat = nnx.to_flat_state(reseed(state, key)) if jax.tree.leaves(state) else []
    return nnx.from_flat_state([(path, variable) for path, variable in flat if isinstance(variable, nnx.RngState)])


def variables_of(state: Any, kind: type) -> list[Any]:
    if not jax.tree.leaves(state):
        return []
    return [variable for _, variable in nnx.to_flat_state(state) if isinstance(variable, kind)]


def keep_streams(before: Any, after: Any) -> Any:
    """The state after a call, with key streams as they were before it."""
    kept = {path: variable for path, variable in nnx.to_flat_state(before) if isinstance(variable, nnx.RngState)}
    return nnx.from_flat_state([(path, kept.get(path, variable)) for path, variable in nnx.to_flat_state(after)])


def with_drawn_weights(model: Any) -> Any:
    """A copy whose layers all draw their weights, so that each draw is one function of x, whatever they train with."""

    def change(node):
        if not isinstance(node, nnx.Module):
            return node
        node = with_streams(node, None)
        layers: list[Any] = [layer for _, layer in nnx.iter_modules(node)]
        for layer in layers:
            if hasattr(getattr(layer, "estimator", None), "draw_noise"):
                layer.estimator = nnx.static(weight_sampling)
        return node

    return jax.tree.map(change, model, is_leaf=lambda node: isinstance(node, nnx.Module))


def with_scales(model: Any) -> Any:
    """A copy whose posteriors have computed their standard deviations, so that no draw and no KL does it again."""
    return map_posteriors(MeanField.with_scale, model)


def draw(model: Any, *, key: Array) -> Any:
    """The same model with every weight fixed: one deterministic function, for Thompson sampling or rollouts.

    f = draw(model, key=k) has f(x) = model(x, key=k) for every x under weight sampling, and f.kl() = 0.

    Args:
        model: with a method `draw(key=...)`, or any pytree whose Bayesian nodes have one (each then gets a key of
            its own).
        key: one key of `jax.random.key`.
    Returns:
        A model that ignores the key it is called with.
    Raises:
        ValueError: no Bayesian node in the model.

    >>> from deepuq_jax import BayesianLinear
    >>> layer, k = BayesianLinear(2, 1, rngs=nnx.Rngs(0)), jax.random.key(1)
    >>> f = draw(layer, key=k)
    >>> bool((f(jnp.ones((3, 2))) == layer(jnp.ones((3, 2)), key=k)).all())
    True
    """
    check_key(key)
    if hasattr(model, "draw"):
        return model.draw(key=key)
    nodes = {id(node): i for i, (_, node) in enumerate(bayesian_nodes(model))}
    if not nodes:
        raise ValueError(expected("model", "to have a Bayesian layer, with kl()", type(model).__name__))
    fix = lambda node: node.draw(key=draw_key(key, nodes[id(node)])) if id(node) in nodes else node
    return jax.tree.map(fix, model, is_leaf=lambda node: id(node) in nodes)
