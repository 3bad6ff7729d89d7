"""Training and evaluation modes.

In training mode, dropout is on and BatchNorm uses the statistics of the batch.
"""

from __future__ import annotations

from typing import Any

import jax
from flax import nnx

from deepuq_jax.model.state import with_streams


def in_evaluation_mode(model: Any, *, mc_dropout: bool = False) -> Any:
    """Copy a model into evaluation mode.

    Args:
        model: any pytree; every Flax NNX module in it is copied, and the caller's modules stay as they are.
        mc_dropout: keep dropout on (Gal & Ghahramani 2016, arXiv 1506.02142). BatchNorm uses its running statistics
            nevertheless.

    >>> net = nnx.Dropout(0.5, rngs=nnx.Rngs(0))
    >>> in_evaluation_mode(net).deterministic, net.deterministic
    (True, False)
    """

    def change(node: Any) -> Any:
        if not isinstance(node, nnx.Module):
            return node
        node = with_streams(node, None)
        node.set_attributes(raise_if_not_found=False, deterministic=not mc_dropout, use_running_average=True)
        return node

    return jax.tree.map(change, model, is_leaf=lambda node: isinstance(node, nnx.Module))
