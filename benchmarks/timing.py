"""Timing that can be trusted on a noisy machine: warmed up, interleaved, medians, compile time apart."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import jax


@dataclass(frozen=True)
class Timing:
    """Seconds per unit of work.

    Attributes:
        compile_s: the first call, compilation included, of the whole call.
        median_s, low_s, high_s: median, minimum and maximum of the later calls, per unit.
    """

    compile_s: float
    median_s: float
    low_s: float
    high_s: float


def _clock(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def interleave(contestants: dict[str, Callable[[], object]], *, units: int, rounds: int) -> dict[str, Timing]:
    """Time contestants in turn, A B A B ..., so that a slow spell of the machine falls on all of them.

    Args:
        contestants: functions of no argument that return JAX arrays; each does `units` units of work a call.
        units: by which each call's time is divided.
        rounds: timed calls of each, after one to compile and one to warm up.
    """
    first = {name: _clock(function) for name, function in contestants.items()}
    for function in contestants.values():
        _clock(function)
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, function in contestants.items():
            times[name].append(_clock(function) / units)
    return {name: Timing(first[name], statistics.median(row), min(row), max(row)) for name, row in times.items()}
