"""A network that is called and never changed."""

from __future__ import annotations

from typing import Any

from flax import nnx

from deepuq_jax.model.variables import copied, unwrap


class FrozenState(nnx.Variable[Any]):
    """The arrays of a frozen network: carried, not trained."""


class Frozen(nnx.Module):
    """A Flax NNX module with its weights, statistics and streams as they are now; what a call changes is forgotten.

    Its mode alone may change: `eval()` and `train()`, of a module around it too, reach it.

    >>> import jax.numpy as jnp
    >>> net = Frozen(nnx.Linear(3, 2, rngs=nnx.Rngs(0)))
    >>> net(jnp.ones((4, 3))).shape, len(nnx.state(net, nnx.Param))
    ((4, 2), 0)
    """

    def __init__(self, net: nnx.Module):
        graphdef, state = nnx.split(net)
        self.graphdef = nnx.static(graphdef)
        values = [variable.get_value() for _, variable in nnx.to_flat_state(state)]
        # A copy: training donates its buffers, and the caller keeps the network.
        self.state = FrozenState(copied(values))

    def _net(self) -> Any:
        return nnx.merge(self.graphdef, unwrap(self.state))

    def __call__(self, x: Any) -> Any:
        """Outputs of the network."""
        return self._net()(x)

    def _set_mode(self, **attributes: bool) -> None:
        net = self._net()
        net.set_attributes(raise_if_not_found=False, **attributes)
        self.graphdef = nnx.static(nnx.split(net)[0])

    # `train()`, `eval()` and `set_attributes` of this module, or of one around it, look for these two by name.

    @property
    def deterministic(self) -> None:
        """Setting it switches dropout off (True) or on."""

    @deterministic.setter
    def deterministic(self, value: bool) -> None:
        self._set_mode(deterministic=value)

    @property
    def use_running_average(self) -> None:
        """Setting it makes BatchNorm use its statistics (True) or those of the batch."""

    @use_running_average.setter
    def use_running_average(self, value: bool) -> None:
        self._set_mode(use_running_average=value)
