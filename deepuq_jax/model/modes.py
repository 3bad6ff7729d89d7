"""Training and evaluation modes.

In training mode, dropout is on and BatchNorm uses the statistics of the batch.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import jax
from flax import nnx

from deepuq_jax.model.state import with_streams
from deepuq_jax.model.structure import is_module


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

    return jax.tree.map(change, model, is_leaf=is_module)


class ModeSwitch(nnx.Module):
    """A module that does not keep its mode in attributes.

    `train()`, `eval()` and `set_attributes`, of this module or of a module around it, look for the two properties by
    name. A subclass defines `_set_mode(name, value)`.
    """

    @abstractmethod
    def _set_mode(self, name: str, value: bool) -> None:
        """Set a mode attribute, which is True in evaluation."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Keep the properties out of Flax's list of attributes.

        Switching the mode back and forth then leaves the structure unchanged.
        """
        if name in ("deterministic", "use_running_average"):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @property
    def deterministic(self) -> None:
        """Write-only: switches dropout off (True) or on (False)."""

    @deterministic.setter
    def deterministic(self, value: bool) -> None:
        self._set_mode("deterministic", value)

    @property
    def use_running_average(self) -> None:
        """Write-only: whether BatchNorm uses its running statistics.

        True selects the running statistics, False the statistics of the batch.
        """

    @use_running_average.setter
    def use_running_average(self, value: bool) -> None:
        self._set_mode("use_running_average", value)
