"""Timing that can be trusted on a noisy machine: warmed up, interleaved, medians, compile time apart."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax


@dataclass(frozen=True)
class Timing:
    """Seconds per unit of work.

    Attributes:
        median_s, low_s, high_s: median, minimum and maximum of the timed calls, per unit.
    """

    median_s: float
    low_s: float
    high_s: float


# Threads of one framework spin for a moment after its last kernel, and would take a core from the other's first.
SETTLE_S = 0.005


def synchronize(result: Any) -> Any:
    """Wait until the devices are done: for these JAX arrays, and for whatever torch has under way on a GPU."""
    jax.block_until_ready(result)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.synchronize()
    return result


def clock(function: Callable[[], Any]) -> tuple[float, Any]:
    """(Seconds of a call until its results are there, the results)."""
    start = time.perf_counter()
    result = synchronize(function())
    return time.perf_counter() - start, result


def interleave(
    contestants: Mapping[str, Callable[[], Any]],
    *,
    units: Mapping[str, int],
    rounds: int,
    keep: Callable[[str, Any], None] = lambda name, result: None,
) -> dict[str, Timing]:
    """Time contestants in turn, A B A B ..., so that a slow spell of the machine falls on all of them.

    Args:
        contestants: functions of no argument, compiled and warmed up; each does `units` units of work a call.
        units: by which each call's time is divided.
        rounds: timed calls of each.
        keep: called with a name and what its call returned, outside of the time.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, function in contestants.items():
            time.sleep(SETTLE_S)
            seconds, result = clock(function)
            times[name].append(seconds / units[name])
            keep(name, result)
    return {name: Timing(statistics.median(row), min(row), max(row)) for name, row in times.items()}
