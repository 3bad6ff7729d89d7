"""Times of calls on a GPU.

The clock can wait for each call, or queue calls behind each other, which hides the work of the host.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.timing import synchronize


class Clock:
    """A stopwatch that repeats a call and takes the median.

    Args:
        dry: whether this is a rehearsal, with as few calls as possible.
    """

    def __init__(self, dry: bool):
        self._dry = dry

    def timed(self, function: Callable[[], Any], *, units: int = 1, seconds: float = 0.4) -> dict[str, float]:
        """Measure the median microseconds of a call per unit of work.

        The clock waits for each call. The median is measured twice; the difference between the two shows the noise.
        """
        seconds = 0.0 if self._dry else seconds
        for _ in range(1 if self._dry else 3):
            synchronize(function())
        return {
            "us": self._median(function, seconds) / units,
            "us_again": self._median(function, seconds) / units,
        }

    def _median(self, function: Callable[[], Any], seconds: float) -> float:
        times, end = [], time.perf_counter() + seconds
        while time.perf_counter() < end or len(times) < (1 if self._dry else 3):
            start = time.perf_counter()
            synchronize(function())
            times.append((time.perf_counter() - start) * 1e6)
        return statistics.median(times)

    def queued(self, function: Callable[[], Any], count: int = 200) -> float:
        """Measure the microseconds per call with many calls in flight.

        This is the time of the device, or of the host if the host is slower.
        """
        count = 2 if self._dry else count
        synchronize(function())
        best = float("inf")
        for _ in range(1 if self._dry else 5):
            start = time.perf_counter()
            result = None
            for _ in range(count):
                result = function()
            synchronize(result)
            best = min(best, (time.perf_counter() - start) * 1e6 / count)
        return best


def compile_together(lowered: Mapping[str, Any]) -> dict[str, Any]:
    """Compile programs in parallel: XLA releases Python's lock while it compiles."""
    with ThreadPoolExecutor(8) as pool:
        return dict(zip(lowered, pool.map(lambda program: program.compile(), lowered.values()), strict=True))
