"""A network that is called and never changed."""

from __future__ import annotations

from typing import Any

import jax
from flax import nnx

from deepuq_jax.model import unwrap


class FrozenState(nnx.Variable):
    """The arrays of a frozen network: carried, not trained."""


class Frozen(nnx.Module):
    """A Flax NNX module with its weights, statistics and streams as they are now; what a call changes is forgotten.

    Call `net.eval()` first where BatchNorm or dropout should behave as in evaluation.

    >>> import jax.numpy as jnp
    >>> net = Frozen(nnx.Linear(3, 2, rngs=nnx.Rngs(0)))
    >>> net(jnp.ones((4, 3))).shape, len(nnx.state(net, nnx.Param))
    ((4, 2), 0)
    """

    def __init__(self, net: nnx.Module):
        graphdef, state = nnx.split(net)
        self.graphdef = nnx.static(graphdef)
        # A copy: training donates its buffers, and the caller keeps the network.
        self.state = FrozenState(jax.tree.map(lambda leaf: leaf.copy(), nnx.to_pure_dict(state)))

    def __call__(self, x: Any) -> Any:
        """Outputs of the network."""
        return nnx.merge(self.graphdef, unwrap(self.state))(x)
