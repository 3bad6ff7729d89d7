"""Result files: rows by workload, each with its environment.

Files hold times; ratios are computed when a table is made.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.speed.check import OK
from benchmarks.speed.contestant import FLOOR, ORIGINAL

RESULTS = Path(__file__).parents[1] / "results"


def read(path: Path) -> dict[str, Any]:
    """Read a file, or return an empty result.

    Returns:
        {"workloads": {name: {"environment", "machine", "limits", "absent", "rounds", "rows"}}}.
    """
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"workloads": {}}


def merge(path: Path, measured: dict[str, Any]) -> dict[str, Any]:
    """Write workloads into a file, in place of their earlier results.

    So a table can be measured in parts.
    """
    data = read(path)
    data["workloads"].update(measured)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return data


def timed(part: dict[str, Any]) -> list[dict[str, Any]]:
    """A workload's rows that have a time, whether their check is ok or BAD."""
    return [row for row in part["rows"] if "median_s" in row]


def right(part: dict[str, Any]) -> list[dict[str, Any]]:
    """A workload's timed rows whose check is ok."""
    return [row for row in timed(part) if row["check"] == OK]


def floor_of(row: dict[str, Any], part: dict[str, Any]) -> dict[str, Any] | None:
    """The deterministic row in the same framework and style."""
    same = [r for r in timed(part) if r["package"] == FLOOR and r["framework"] == row["framework"]]
    return next((r for r in same if r["style"] == row["style"]), None)


def original_of(part: dict[str, Any]) -> dict[str, Any] | None:
    """The row of the original."""
    return next((row for row in timed(part) if row["package"] == ORIGINAL), None)


def ratio(row: dict[str, Any] | None, to: dict[str, Any] | None) -> float | None:
    """The ratio of two medians; None unless both rows exist and their checks are ok."""
    if row is None or to is None or row["check"] != OK or to["check"] != OK:
        return None
    return row["median_s"] / to["median_s"]


def median(row: dict[str, Any]) -> float:
    """Median seconds per step (per call, in prediction)."""
    return row["median_s"]
