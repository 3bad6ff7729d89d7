"""Networks that are called but never change."""

from __future__ import annotations

from typing import Any

from flax import nnx

from deepuq_jax.model.modes import ModeSwitch
from deepuq_jax.model.precision import CastsItself, set_open_dtypes
from deepuq_jax.model.variables import FixedArray, FrozenWeight, copied, unwrap


class FixedNet(ModeSwitch, CastsItself):
    """A copy of a Flax NNX module for a drawn model.

    It keeps the weights, statistics and streams that the module has at the time of the copy, and forgets the changes
    that a call makes. Only its mode and its compute dtype may change; `eval()` and `train()` of a module around it
    reach it too.

    >>> import jax.numpy as jnp
    >>> net = FixedNet(nnx.Linear(3, 2, rngs=nnx.Rngs(0)))
    >>> net(jnp.ones((4, 3))).shape, len(nnx.state(net, nnx.Param))
    ((4, 2), 0)
    """

    _kind: type[nnx.Variable[Any]] = FixedArray

    def __init__(self, net: nnx.Module):
        graphdef, state = nnx.split(net)
        self.graphdef: nnx.GraphDef[Any] = nnx.static(graphdef)
        values = [variable.get_value() for _, variable in nnx.to_flat_state(state)]
        # Training donates its buffers; the copy preserves the caller's network.
        self.state: nnx.Variable[Any] = self._kind(copied(values))

    def net(self) -> Any:
        """Return the copied module."""
        return nnx.merge(self.graphdef, unwrap(self.state))

    def __call__(self, x: Any) -> Any:
        """Return the network's outputs."""
        return self.net()(x)

    def _set_mode(self, name: str, value: bool) -> None:
        net = self.net()
        net.set_attributes(raise_if_not_found=False, **{name: value})
        self.graphdef = nnx.static(nnx.split(net)[0])

    def compute_in(self, dtype: Any) -> None:
        """Let the layers of the network compute in the dtype."""
        net = self.net()
        set_open_dtypes(net, dtype)
        self.graphdef = nnx.static(nnx.split(net)[0])


class Frozen(FixedNet):
    """A frozen copy of a Flax NNX module.

    It is always in evaluation mode, and no gradient reaches its weights.
    """

    _kind = FrozenWeight

    def __init__(self, net: nnx.Module):
        super().__init__(net)
        super()._set_mode("deterministic", True)
        super()._set_mode("use_running_average", True)

    def _set_mode(self, name: str, value: bool) -> None:
        """Keep the evaluation mode, whatever mode the model around it is in."""
