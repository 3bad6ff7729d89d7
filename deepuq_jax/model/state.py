"""Calls that carry state: BatchNorm statistics go in and out, dropout streams derive from the key of the call."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from deepuq_jax._checks import check_one_of
from deepuq_jax.model.variables import ResolvedPosterior

# Whether the running call hands changed state out: then a model inside another writes to its own Variables instead of
# forgetting what it wrote. It is no argument of the call, since between the two may be networks of a user's own, which
# would not pass it on.
_hands_state_out: ContextVar[bool] = ContextVar("hands_state_out", default=False)
# Apart from the numbers that number a key's draws and leaves.
_STREAMS = 0x5EED
# A filter of Flax: every Variable but these is carried.
_NOT_CARRIED = (nnx.Param, ResolvedPosterior)


def apply_to_copy(function: Callable[[Any], Any], model: Any, key: Array | None) -> tuple[Any, Any]:
    """Call `function` on a copy of the model whose streams derive from `key`.

    With a key, dropout and other streams start anew from it, never from a stored count, so a key is a function. They
    come out as they went in; what else the model wrote (BatchNorm statistics in training mode) comes out changed.

    Returns:
        (what the function returns, the carried state after it, or None where the model carries none).
    """
    carried = carried_state(model)
    is_stateful = bool(jax.tree.leaves(carried))
    # A model of this trace's own, so that writing to its Variables is allowed and leaves the caller's alone.
    fresh = with_streams(model, key) if is_stateful else model
    token = _hands_state_out.set(True)
    try:
        result = function(fresh)
    finally:
        _hands_state_out.reset(token)
    return result, _keep_streams(carried, carried_state(fresh)) if is_stateful else None


def carried_state(model: Any) -> Any:
    """The Variables of a Flax NNX module that are carried, as an `nnx.State`; None for any other pytree."""
    return nnx.split(model, _NOT_CARRIED, ...)[2] if isinstance(model, nnx.Module) else None


def with_streams(model: Any, key: Array | None) -> Any:
    """A copy of a Flax NNX module whose streams are those of `key` (as they were, without one)."""
    graphdef, others, carried = nnx.split(model, _NOT_CARRIED, ...)
    carried = own_variables(carried) if key is None else reseed(carried, key)
    return nnx.merge(graphdef, own_variables(others), carried)


def own_copy(model: Any) -> Any:
    """A copy of a Flax NNX module with Variables of the running trace; any other pytree as it is."""
    return with_streams(model, None) if isinstance(model, nnx.Module) else model


class Stateful:
    """A model whose call is pure although members of it write to their Variables.

    A subclass has `_forward`, with the arguments of a call, which may write. Called alone the model forgets what was
    written; `call_with_state` hands it out, of a model inside another too.
    """

    def __call__(self, x: Any, *, key: Array | None = None, noise: Any = None) -> Any:
        """Outputs of one draw from `key` or `noise`, else at the posterior means."""
        check_one_of("key and noise", key, noise)
        if not _hands_state_out.get():
            return apply_to_copy(lambda fresh: fresh(x, key=key, noise=noise), self, key)[0]
        if key is not None:  # Inside another model: this one's streams are of this one's key.
            nnx.update(self, _streams_of(carried_state(self), key))
        return self._forward(x, key=key, noise=noise)

    @abstractmethod
    def _forward(self, x: Any, *, key: Array | None = None, noise: Any = None) -> Any:
        """The call itself, which may write to Variables."""


def own_variables(state: Any) -> Any:
    """The same state in Variables of its own, so that a network may write to them and the caller's stay as they are."""
    return jax.tree.map(lambda leaf: leaf, state)


def reseed(state: Any, key: Array) -> Any:
    """A copy of a network's state whose streams (dropout) start anew from `key`, their counts at zero."""
    state = own_variables(state)
    key = stream_key(key)
    for i, stream in enumerate(_variables_of(state, nnx.RngKey)):
        stored = stream.get_value()
        data = jax.random.split(jax.random.fold_in(key, i), stored.size).reshape(stored.shape)
        stream.set_value(data if jnp.issubdtype(stored.dtype, jax.dtypes.prng_key) else jax.random.key_data(data))
    for count in _variables_of(state, nnx.RngCount):
        count.set_value(jnp.zeros_like(count.get_value()))
    return state


def stream_key(key: Array) -> Array:
    """What dropout and other streams of a call with `key` are drawn from."""
    return jax.random.fold_in(key, _STREAMS)


def has_streams(model: Any) -> bool:
    """Whether the model holds key streams, as dropout does."""
    return isinstance(model, nnx.Module) and bool(_variables_of(carried_state(model), nnx.RngKey))


def _streams_of(state: Any, key: Array) -> Any:
    """The streams of `reseed(state, key)` alone."""
    flat = nnx.to_flat_state(reseed(state, key)) if jax.tree.leaves(state) else []
    return nnx.from_flat_state([(path, variable) for path, variable in flat if isinstance(variable, nnx.RngState)])


def _variables_of(state: Any, kind: type) -> list[Any]:
    if not jax.tree.leaves(state):
        return []
    return [variable for _, variable in nnx.to_flat_state(state) if isinstance(variable, kind)]


def _keep_streams(before: Any, after: Any) -> Any:
    """The state after a call, with key streams as they were before it."""
    kept = {path: variable for path, variable in nnx.to_flat_state(before) if isinstance(variable, nnx.RngState)}
    return nnx.from_flat_state([(path, kept.get(path, variable)) for path, variable in nnx.to_flat_state(after)])
