"""Bytes and operations of each workload, and the limit that they set to its time.

The limit is the time to move the bytes or to do the operations, at the measured rates of the machine, whichever is
longer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import jax
import jax.numpy as jnp

from benchmarks.speed.workloads import CONV_STRIDE, Network, Train, Workload
from benchmarks.timing import clock

FLOAT = 4  # bytes
ADAM_ARRAYS = 3  # a parameter and its two moments, each read and written once per step


@dataclass(frozen=True)
class Work:
    """The least work per training step, or per prediction.

    Attributes:
        bytes: state read and written once, inputs read once, results written once; drawn weights and activations are
            assumed to stay in cache.
        operations: additions and multiplications of the matrix products and convolutions alone.
        normals: standard normal numbers drawn.
    """

    bytes: int
    operations: int
    normals: int


def work_of(work: Workload, *, bayesian: bool = True) -> Work:
    """Count the work of weight sampling, or of the floor.

    >>> from benchmarks.speed.workloads import SMALL
    >>> work_of(Train(SMALL, batch=32, steps=1))
    Work(bytes=25200, operations=60800, normals=501)
    """
    network, posterior = work.network, 2 if bayesian else 1
    if isinstance(work, Train):
        draws = work.mc_samples if bayesian else 1
        data = FLOAT * work.batch * (math.prod(network.input_shape) + 1)
        state = 2 * ADAM_ARRAYS * FLOAT * posterior * network.size
        operations = draws * work.batch * (3 * sum(_products(network)) - _products(network)[0])
        return Work(state + data, operations, draws * network.size if bayesian else 0)
    results = 2 * FLOAT * work.inputs * network.outputs
    data = FLOAT * (posterior * network.size + work.inputs * math.prod(network.input_shape))
    operations = work.draws * work.inputs * sum(_products(network))
    return Work(data + results, operations, work.draws * network.size if bayesian else 0)


def _products(network: Network) -> list[int]:
    """Operations of each layer's product per example.

    `work_of` subtracts the first layer's once: training needs no gradient of the inputs.
    """
    found, side = [], network.input_shape[0]
    for kernel in network.kernels:
        if len(kernel) > 2:
            side = -(-side // CONV_STRIDE)
        found.append(2 * math.prod(kernel) * (side**2 if len(kernel) > 2 else 1))
    return found


@dataclass(frozen=True)
class Machine:
    """Measured rates: bytes and operations per second, seconds per normal."""

    bandwidth: float
    flops: float
    normal_s: float


def measure_machine(elements: int = 2**25, side: int = 2048, calls: int = 5) -> Machine:
    """Measure the rates in JAX, each by the fastest of a few calls.

    The calls read and write an array far larger than any cache, multiply two matrices (float32, at the precision that
    is set), and draw normals by `jax.random`.
    """
    array, matrix = jnp.ones(elements), jnp.ones((side, side))
    copy = _best(jax.jit(lambda a: a * 1.5 + 1.0), array, calls)
    product = _best(jax.jit(jnp.matmul), matrix, calls, matrix)
    count = elements // 16
    normal = _best(jax.jit(lambda key: jax.random.normal(key, (count,))), jax.random.key(0), calls)
    return Machine(2 * FLOAT * elements / copy, 2 * side**3 / product, normal / count)


def _best(function: Callable, argument: jax.Array, calls: int, *more: jax.Array) -> float:
    clock(lambda: function(argument, *more))
    return min(clock(lambda: function(argument, *more))[0] for _ in range(calls))


def limit_s(work: Work, machine: Machine) -> float:
    """Seconds for the bytes or the operations, whichever takes longer.

    The shorter part is assumed to overlap with the longer, and noise to be free.
    """
    return max(work.bytes / machine.bandwidth, work.operations / machine.flops)


def record(work: Workload, machine: Machine) -> dict:
    """The counts and their limits, for a result file."""
    both = {"bayesian": work_of(work), "deterministic": work_of(work, bayesian=False)}
    return {name: {**asdict(numbers), "limit_s": limit_s(numbers, machine)} for name, numbers in both.items()}
