"""The two numbers of each workload, bytes and operations, and the time that they imply on a machine."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import jax
import jax.numpy as jnp

from benchmarks.speed.workloads import CONV_STRIDE, Network, Train, Workload
from benchmarks.timing import clock

FLOAT = 4  # bytes
ADAM_ARRAYS = 3  # a parameter and its two moments, each read and written once a step


@dataclass(frozen=True)
class Work:
    """What a workload cannot do without, a step (a call, in prediction).

    Attributes:
        bytes: state read and written once, inputs read once, results written once; weights drawn and activations are
            taken to stay in cache.
        operations: additions and multiplications of the matrix products and convolutions alone.
        normals: standard normal numbers drawn.
    """

    bytes: int
    operations: int
    normals: int


def work_of(work: Workload, *, bayesian: bool = True) -> Work:
    """The numbers of a workload with weight sampling, or of the deterministic network in the same task.

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
    """Operations of each layer's product for one example. (Of the input no gradient is needed, hence `[0]` above.)"""
    found, side = [], network.input_shape[0]
    for kernel in network.kernels:
        if len(kernel) > 2:
            side = -(-side // CONV_STRIDE)
        found.append(2 * math.prod(kernel) * (side**2 if len(kernel) > 2 else 1))
    return found


@dataclass(frozen=True)
class Machine:
    """What the machine reaches, measured in JAX: bytes and operations a second, seconds a normal."""

    bandwidth: float
    flops: float
    normal_s: float


def measure_machine(elements: int = 2**25, side: int = 2048, calls: int = 5) -> Machine:
    """The best of a few calls: an array read and written, a matrix product, normals drawn by `jax.random`.

    The product is in float32 at the precision that is set. The array is far larger than any cache.
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
    """The longer of moving the bytes and doing the operations, were the one hidden behind the other; noise is free."""
    return max(work.bytes / machine.bandwidth, work.operations / machine.flops)


def record(work: Workload, machine: Machine) -> dict:
    """The numbers and their limits, for a result file."""
    both = {"bayesian": work_of(work), "deterministic": work_of(work, bayesian=False)}
    return {name: {**asdict(numbers), "limit_s": limit_s(numbers, machine)} for name, numbers in both.items()}
