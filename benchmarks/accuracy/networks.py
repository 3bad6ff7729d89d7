"""Deterministic networks that follow the model protocol.

So the code that trains and scores Bayesian networks trains and scores these, too.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array


class PointNetwork(nnx.Module):
    """A network without a posterior over its weights.

    The KL is 0, so the negative ELBO is the mean of -log p.

    Args:
        net: any module.
        likelihood: the likelihood of the targets, given the outputs of `net`.
    """

    def __init__(self, net: nnx.Module, likelihood: Any):
        self.net = net
        self.likelihood = nnx.static(likelihood)

    def __call__(self, x: Array, *, key: Array | None = None) -> Array:
        """Outputs; the key is ignored."""
        return self.net(x)

    def kl(self, key: Array | None = None) -> Array:
        """Return 0 nats, since no weight is random."""
        return jnp.zeros(())


def perceptron(sizes: tuple[int, ...], *last: Callable, rngs: nnx.Rngs) -> nnx.Sequential:
    """Affine layers with ReLU between them, followed by `last`.

    >>> perceptron((4, 8, 3), rngs=nnx.Rngs(0))(jnp.ones((2, 4))).shape
    (2, 3)
    """
    members: list[Callable] = []
    for fan_in, fan_out in pairwise(sizes):
        members += [nnx.Linear(fan_in, fan_out, rngs=rngs), nnx.relu]
    return nnx.Sequential(*members[:-1], *last)
