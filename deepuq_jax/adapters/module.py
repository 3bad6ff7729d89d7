"""Flax NNX modules around a network of any library: what they hold of it, and how it is called."""

from __future__ import annotations

from typing import Any

import jax
from flax import nnx
from jax import Array

from deepuq_jax.adapters.protocol import Net, Parts
from deepuq_jax.model.base import FixedModel
from deepuq_jax.model.state import own_variables, stream_key
from deepuq_jax.model.variables import FixedWeight, VariableTree, copied, unwrap


class CarriedState(nnx.Variable[Any]):
    """State of a network that is no NNX module: carried, not trained."""


class StreamKey(nnx.Variable[Any]):
    """What the dropout of one fixed draw is drawn from."""


class NetModule(nnx.Module):
    """Holds the static part of a network and its state, and passes the mode on; a subclass holds the weights."""

    net: Net
    carried: Any

    def _hold(self, net: Net, carried: Any) -> None:
        self.net = nnx.static(net)
        self.carried = nnx.data(carried if isinstance(carried, nnx.State) else CarriedState(carried))

    def _means(self) -> Any:
        """The weights that stand for the network."""
        raise NotImplementedError

    def _state(self) -> Any:
        """The carried state, in Variables that the network may write to."""
        return unwrap(self.carried) if isinstance(self.carried, nnx.Variable) else own_variables(self.carried)

    def _run(self, weights: Any, x: Any, key: Array | None) -> Any:
        """Outputs at these weights, with streams from `key`; writes what the network carries."""
        is_variable = isinstance(self.carried, nnx.Variable)
        outputs, carried = self.net(weights, self._state(), x, None if key is None else stream_key(key))
        if jax.tree.leaves(carried):
            self.carried = nnx.data(CarriedState(carried) if is_variable else carried)
        return outputs

    def _set_mode(self, name: str, value: bool) -> None:
        self.net = nnx.static(self.net.in_mode(name, value, self._means(), self._state()))

    # `train()`, `eval()` and `set_attributes` of this module, or of one around it, look for these two by name.

    @property
    def deterministic(self) -> None:
        """Setting it switches dropout off (True) or on."""

    @deterministic.setter
    def deterministic(self, value: bool) -> None:
        self._set_mode("deterministic", value)

    @property
    def use_running_average(self) -> None:
        """Setting it makes BatchNorm use its statistics (True) or those of the batch."""

    @use_running_average.setter
    def use_running_average(self, value: bool) -> None:
        self._set_mode("use_running_average", value)


class PlainModule(NetModule):
    """A network of another library as an NNX module: its parameters are `nnx.Param`s, and nothing is Bayesian.

    >>> import jax.numpy as jnp
    >>> PlainModule(Parts(lambda w, carried, x, key: (x @ w, carried), jnp.ones((2, 1)), {}))(jnp.ones((1, 2)))
    Array([[2.]], dtype=float32)
    """

    def __init__(self, parts: Parts):
        self._hold(parts.net, parts.carried)
        self.weights = VariableTree(copied(parts.params), nnx.Param)

    def _means(self) -> Any:
        return unwrap(self.weights)

    def __call__(self, x: Any, *, key: Array | None = None) -> Any:
        """Outputs of the network, with dropout from `key`."""
        return self._run(self._means(), x, key)

    def draw(self, *, key: Array) -> FixedModule:
        """The network as it is, with its dropout fixed."""
        return FixedModule(self.net, self._means(), self.carried, key)


class FixedModule(FixedModel, NetModule):
    """A network at given weights, and with given dropout: it ignores keys, forgets what it writes, and has no KL."""

    def __init__(self, net: Net, weights: Any, carried: Any, key: Array, likelihood: Any = None):
        self._hold(net, unwrap(carried))
        self.weights = VariableTree(weights, FixedWeight)
        self.stream_key = StreamKey(stream_key(key))
        self.likelihood = nnx.static(likelihood)

    def _means(self) -> Any:
        return unwrap(self.weights)

    def __call__(self, x: Any, *, key: Array | None = None, noise: Any = None) -> Any:
        """Outputs of the network."""
        return self.net(self._means(), self._state(), x, unwrap(self.stream_key))[0]
