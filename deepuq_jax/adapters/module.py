"""Flax NNX modules that hold networks of any library."""

from __future__ import annotations

from typing import Any

import jax
from flax import nnx
from jax import Array

from deepuq_jax.adapters.protocol import Net, Parts
from deepuq_jax.model.base import FixedModel
from deepuq_jax.model.modes import ModeSwitch
from deepuq_jax.model.precision import CastsItself, cast_floats
from deepuq_jax.model.state import own_variables, stream_key, with_stream_key
from deepuq_jax.model.variables import FixedWeight, VariableTree, copied, unwrap


class CarriedState(nnx.Variable[Any]):
    """The state of a non-NNX network: carried, not trained."""


class StreamKey(nnx.Variable[Any]):
    """The key for the dropout of a fixed draw."""


class NetModule(ModeSwitch, CastsItself):
    """A module that holds a network and its state.

    It passes train/eval modes on to the network, unless `mode_is_fixed`. A subclass holds the weights.
    """

    net: Net
    carried: Any
    mode_is_fixed: bool = False
    compute_dtype: Any = None

    def _hold(self, net: Net, carried: Any) -> None:
        self.net = nnx.static(net)
        self.carried = nnx.data(carried if isinstance(carried, nnx.State) else CarriedState(carried))

    def _means(self) -> Any:
        """Return the network's weights, or their means."""
        raise NotImplementedError

    def _state(self) -> Any:
        """Return the carried state in writable Variables."""
        if isinstance(self.carried, nnx.Variable):
            return unwrap(self.carried)
        return own_variables(self.carried)

    def _run(self, weights: Any, x: Any, key: Array | None) -> Any:
        """Return the outputs at these weights.

        The call updates the carried state. Streams such as dropout derive from `key`.
        """
        is_variable = isinstance(self.carried, nnx.Variable)
        weights, x = cast_floats((weights, x), self.compute_dtype)
        outputs, carried = self.net(weights, self._state(), x, None if key is None else stream_key(key))
        if jax.tree.leaves(carried):
            self.carried = nnx.data(CarriedState(carried) if is_variable else carried)
        return outputs

    def _set_mode(self, name: str, value: bool) -> None:
        if self.mode_is_fixed:
            return
        self.net = nnx.static(self.net.in_mode(name, value, self._means(), self._state()))

    def compute_in(self, dtype: Any) -> None:
        """Cast weights and inputs to a dtype.

        Layers of the network that have a compute dtype, unless it is set already, get this dtype.
        """
        self.compute_dtype = dtype
        self.net = nnx.static(self.net.in_dtype(dtype, self._means(), self._state()))


class PlainModule(NetModule):
    """A network of another library as a plain NNX module.

    Its parameters are `nnx.Param`s, and nothing is Bayesian.

    >>> import jax.numpy as jnp
    >>> PlainModule(Parts(lambda w, carried, x, key: (x @ w, carried), jnp.ones((2, 1)), {}))(jnp.ones((1, 2)))
    Array([[2.]], dtype=float32)
    """

    def __init__(self, parts: Parts):
        self._hold(parts.net, parts.carried)
        self.weights: VariableTree = VariableTree(copied(parts.params), nnx.Param)

    def _means(self) -> Any:
        return unwrap(self.weights)

    def __call__(self, x: Any, *, key: Array | None = None) -> Any:
        """Return the network's outputs, with dropout from `key`."""
        return self._run(self._means(), x, key)

    def draw(self, *, key: Array) -> FixedModule:
        """Fix the network's weights and dropout."""
        return FixedModule(self.net, self._means(), self.carried, key)


class FixedModule(FixedModel, NetModule):
    """A network with fixed weights and fixed dropout.

    It ignores keys, forgets its changes of state, and has a KL of 0.
    """

    def __init__(self, net: Net, weights: Any, carried: Any, key: Array, likelihood: Any = None):
        self._hold(net, unwrap(carried))
        self.weights: VariableTree = VariableTree(weights, FixedWeight)
        self.stream_key: StreamKey = StreamKey(stream_key(key))
        self.likelihood: Any = nnx.static(likelihood)

    def _means(self) -> Any:
        return unwrap(self.weights)

    def __call__(self, x: Any, *, key: Array | None = None, noise: Any = None) -> Any:
        """Return the network's outputs."""
        stream = unwrap(self.stream_key)
        # A model around this module seeds all streams anew when it is called with a key, so the streams are set again.
        is_state = isinstance(self.carried, nnx.State)
        state = with_stream_key(self.carried, stream) if is_state else self._state()
        weights, x = cast_floats((self._means(), x), self.compute_dtype)
        return self.net(weights, state, x, stream)[0]
