"""Timing on a noisy machine: warm, interleaved calls and medians."""

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


# Threads of a framework spin for a moment after its last kernel, and would take a core from the next contestant.
SETTLE_S = 0.005


def _ignore(name: str, result: Any) -> None:
    """Keep nothing of a result."""


def synchronize(result: Any) -> Any:
    """Wait until these arrays are computed, and until torch's work on a GPU is done."""
    jax.block_until_ready(result)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.synchronize()
    return result


def clock(function: Callable[[], Any]) -> tuple[float, Any]:
    """Time a call until its results are computed.

    Returns:
        The seconds, and the results.
    """
    start = time.perf_counter()
    result = synchronize(function())
    return time.perf_counter() - start, result


def interleave(
    contestants: Mapping[str, Callable[[], Any]],
    *,
    units: Mapping[str, int],
    rounds: int,
    keep: Callable[[str, Any], None] = _ignore,
) -> dict[str, Timing]:
    """Time contestants in turn: A B A B ....

    A slow spell of the machine then falls on all of them.

    Args:
        contestants: functions of no argument, compiled and warm; each does `units` units of work per call.
        units: the units of work per call, which divide the times of the calls.
        rounds: timed calls of each contestant.
        keep: called with a name and the result of its call, outside of the timed span.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, function in contestants.items():
            time.sleep(SETTLE_S)
            seconds, result = clock(function)
            times[name].append(seconds / units[name])
            keep(name, result)
    return {name: Timing(statistics.median(row), min(row), max(row)) for name, row in times.items()}
