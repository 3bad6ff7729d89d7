"""LeNet-5, with and without posteriors over its weights."""

from __future__ import annotations

from functools import partial
from typing import Any

from flax import nnx
from jax import Array

import deepuq_jax as dq
from benchmarks.accuracy.networks import PointNetwork

SIDE = 28
CLASSES = 10
# The third convolution sees the images at a quarter of their size.
_FEATURES = (SIDE // 4) ** 2 * 120
_max_pool = partial(nnx.max_pool, window_shape=(2, 2), strides=(2, 2))


def _flatten(x: Array) -> Array:
    return x.reshape(*x.shape[:-3], -1)


def _members(conv: Any, linear: Any) -> list[Any]:
    """List the layers, given constructors that take the sizes of inputs and outputs.

    Source: uncertainty-baselines, baselines/mnist; all convolutions are padded to the size of their inputs.
    """
    members = [conv(1, 6), nnx.relu, _max_pool, conv(6, 16), nnx.relu, _max_pool, conv(16, 120), nnx.relu, _flatten]
    return [*members, linear(_FEATURES, 84), nnx.relu, linear(84, CLASSES)]


def bayesian(prior: Any, *, rngs: nnx.Rngs) -> dq.Sequential:
    """Make the network with a posterior over every weight."""
    conv = partial(dq.BayesianConv, kernel_size=(5, 5), padding="SAME", prior=prior, rngs=rngs)
    linear = partial(dq.BayesianLinear, prior=prior, rngs=rngs)
    return dq.Sequential(*_members(conv, linear), likelihood=dq.Categorical())


def deterministic(*, rngs: nnx.Rngs) -> PointNetwork:
    """Make the network with plain weights."""
    conv = partial(nnx.Conv, kernel_size=(5, 5), padding="SAME", rngs=rngs)
    return PointNetwork(nnx.Sequential(*_members(conv, partial(nnx.Linear, rngs=rngs))), dq.Categorical())
