"""Call models that carry state.

BatchNorm statistics enter a call and leave it updated; dropout streams derive from the key of the call.
"""

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
from deepuq_jax.model.variables import ResolvedPosterior, value_of

# Whether the running call hands out changed state. If so, a model inside another model writes to its own Variables
# instead of forgetting the changes. An argument of the call could not carry this flag: a user's own network may stand
# between the two models and would not pass the argument on.
_hands_state_out: ContextVar[bool] = ContextVar("hands_state_out", default=False)
# Folded into a key to derive its streams; it differs from the numbers that index the key's draws and leaves.
_STREAMS = 0x5EED
# A filter of Flax: every other Variable is carried.
_NOT_CARRIED = (nnx.Param, ResolvedPosterior)


def apply_to_copy(function: Callable[[Any], Any], model: Any, key: Array | None) -> tuple[Any, Any]:
    """Call `function` on a copy with streams from `key`.

    With a key, dropout and other streams start anew from it, never from a stored count, so equal keys give equal
    outputs. The returned state holds the streams as they were before the call, and everything else that the model wrote
    (BatchNorm statistics in training mode) as it is after the call.

    Returns:
        (result of the function, carried state after the call); the state is None if the model carries no state.
    """
    carried = carried_state(model)
    is_stateful = bool(jax.tree.leaves(carried))
    # The copy belongs to the running trace: writing to its Variables is allowed and leaves the caller's unchanged.
    fresh = with_streams(model, key) if is_stateful else model
    token = _hands_state_out.set(True)
    try:
        result = function(fresh)
    finally:
        _hands_state_out.reset(token)
    return result, _keep_streams(carried, carried_state(fresh)) if is_stateful else None


def carried_state(model: Any) -> Any:
    """Return the carried Variables of a Flax NNX module.

    Returns:
        An `nnx.State`, or None for any other pytree.
    """
    return nnx.split(model, _NOT_CARRIED, ...)[2] if isinstance(model, nnx.Module) else None


def with_streams(model: Any, key: Array | None) -> Any:
    """Copy a Flax NNX module with streams from `key`.

    Without a key, the streams are copied unchanged.
    """
    graphdef, others, carried = nnx.split(model, _NOT_CARRIED, ...)
    carried = own_variables(carried) if key is None else reseed(carried, key)
    return nnx.merge(graphdef, _new_variables(others), carried)


def own_copy(model: Any) -> Any:
    """Copy a Flax NNX module into the running trace.

    Any other pytree is returned as it is.
    """
    return with_streams(model, None) if isinstance(model, nnx.Module) else model


class Stateful:
    """A model whose call is pure despite stateful members.

    A subclass implements `_forward`, which takes the arguments of a call and may write to Variables. A plain call
    forgets the changes; `call_with_state` returns them, even for a model inside another model.
    """

    def __call__(self, x: Any, *, key: Array | None = None, noise: Any = None) -> Any:
        """Return the outputs at a draw or the means.

        `key` or `noise` selects the draw; without either, the weights are the posterior means.
        """
        check_one_of("key and noise", key, noise)
        if not _hands_state_out.get():
            return apply_to_copy(lambda fresh: fresh(x, key=key, noise=noise), self, key)[0]
        if key is not None:  # This model is inside another, and its streams derive from its own key.
            nnx.update(self, _streams_of(carried_state(self), key))
        return self._forward(x, key=key, noise=noise)

    @abstractmethod
    def _forward(self, x: Any, *, key: Array | None = None, noise: Any = None) -> Any:
        """Compute the outputs; may write to Variables."""


def own_variables(state: Any) -> Any:
    """Copy the state into new Variables, carried ones under `stop_gradient`.

    A network may write to them, and the caller's Variables stay unchanged.
    """
    copies = _new_variables(state)
    for variable in _variables_of(copies, nnx.Variable):
        variable.set_value(value_of(variable))
    return copies


def _new_variables(state: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf, state)


def reseed(state: Any, key: Array) -> Any:
    """Copy a network's state with streams from `key`.

    The counts of the streams (dropout) are set to zero.
    """
    return with_stream_key(state, stream_key(key))


def with_stream_key(state: Any, stream: Array) -> Any:
    """Copy a network's state with streams from a key that `stream_key` derived."""
    state = own_variables(state)
    for i, variable in enumerate(_variables_of(state, nnx.RngKey)):
        stored = variable.get_value()
        data = jax.random.split(jax.random.fold_in(stream, i), stored.size).reshape(stored.shape)
        variable.set_value(data if jnp.issubdtype(stored.dtype, jax.dtypes.prng_key) else jax.random.key_data(data))
    for count in _variables_of(state, nnx.RngCount):
        count.set_value(jnp.zeros_like(count.get_value()))
    return state


def stream_key(key: Array) -> Array:
    """Derive the key of dropout streams from `key`."""
    return jax.random.fold_in(key, _STREAMS)


def has_streams(model: Any) -> bool:
    """Whether the model holds key streams (dropout)."""
    return isinstance(model, nnx.Module) and bool(_variables_of(carried_state(model), nnx.RngKey))


def _streams_of(state: Any, key: Array) -> Any:
    """Return only the streams of `reseed(state, key)`."""
    flat = nnx.to_flat_state(reseed(state, key)) if jax.tree.leaves(state) else []
    return nnx.from_flat_state([(path, variable) for path, variable in flat if isinstance(variable, nnx.RngState)])


def _variables_of(state: Any, kind: type) -> list[Any]:
    if not jax.tree.leaves(state):
        return []
    return [variable for _, variable in nnx.to_flat_state(state) if isinstance(variable, kind)]


def _keep_streams(before: Any, after: Any) -> Any:
    """Return the state `after`, with the key streams of `before`."""
    kept = {path: variable for path, variable in nnx.to_flat_state(before) if isinstance(variable, nnx.RngState)}
    return nnx.from_flat_state([(path, kept.get(path, variable)) for path, variable in nnx.to_flat_state(after)])
