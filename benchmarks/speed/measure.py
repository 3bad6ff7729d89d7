"""Measure every contestant on a workload: set-up, first call, timed calls in turn, check."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.speed import check
from benchmarks.speed.contestant import Contestant, Setting, Unsupported
from benchmarks.speed.workloads import Predict, Train, Workload
from benchmarks.timing import clock, interleave

CALL_S = 0.1  # about the length of a timed call: long beside the clock, short beside the machine's slow spells


@dataclass
class Entry:
    """A contestant on its way through a workload."""

    contestant: Contestant
    run: Callable[[], Any]
    steps: int = 1
    first_s: float = 0.0
    losses: list[float] = field(default_factory=list)
    predictions: list[Any] = field(default_factory=list)

    def keep(self, result: Any) -> None:
        """Keep a call's result for the check."""
        if isinstance(result, tuple):
            self.predictions.append(result)
        else:
            self.losses += check.numbers(result)


def measure(
    work: Workload, contestants: list[Contestant], setting: Setting, rounds: int, log: Callable[[str], None] = print
) -> list[dict]:
    """Measure each contestant that does the workload's task.

    Returns:
        Rows with times in seconds per step (per call, in prediction).
    """
    entries: dict[str, Entry] = {}
    rows: list[dict] = []
    for contestant in contestants:
        try:
            entry = _set_up(work, contestant, setting)
        except Unsupported as reason:
            rows.append({"contestant": contestant.name, "skipped": str(reason)})
        except Exception as error:  # a broken peer makes a row and does not end the table
            message = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            rows.append({"contestant": contestant.name, "check": f"BAD: {message}"})
        else:
            if entry is not None:
                entries[contestant.name] = entry
                log(f"  {contestant.name}: first call {entry.first_s:.2f} s")
    log(f"  timing {len(entries)} contestants, {rounds} rounds")
    timings = interleave(
        {name: entry.run for name, entry in entries.items()},
        units={name: entry.steps for name, entry in entries.items()},
        rounds=rounds,
        keep=lambda name, result: entries[name].keep(result),
    )
    log("  timed")
    for name, entry in entries.items():
        while isinstance(work, Train) and not check.is_settled(entry.losses):
            _call(entry)
        rows.append(_row(work, entry, asdict(timings[name])))
    return rows


def _set_up(work: Workload, contestant: Contestant, setting: Setting) -> Entry | None:
    """Build, compile and warm up; return None if the contestant does not do the task."""
    if isinstance(work, Predict):
        if contestant.predict is None:
            return None
        entry = Entry(contestant, contestant.predict(work, setting))
        entry.first_s = _call(entry)
        _call(entry)
        return entry
    if contestant.train is None:
        return None
    run = contestant.train(work, setting)
    scanned = contestant.style == "scanned"
    entry = Entry(contestant, lambda: run(entry.steps), work.steps if scanned else 1)
    entry.first_s = _call(entry)
    warm_s = _call(entry)
    if not scanned:
        entry.steps = max(1, min(work.steps, math.ceil(CALL_S / warm_s)))
        _call(entry)
    return entry


def _call(entry: Entry) -> float:
    seconds, result = clock(entry.run)
    entry.keep(result)
    return seconds


def _row(work: Workload, entry: Entry, timing: dict) -> dict:
    contestant = entry.contestant
    if isinstance(work, Train):
        verdict = check.training(contestant, work, entry.losses)
    else:
        verdict = check.prediction(contestant, work, entry.predictions)
    return {
        "contestant": contestant.name,
        "package": contestant.package,
        "framework": contestant.framework,
        "style": contestant.style,
        "first_s": entry.first_s,
        "steps": entry.steps,
        **timing,
        "check": verdict,
    }
