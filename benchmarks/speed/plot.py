"""The table as a picture: a bar for each contestant, a panel for each workload, on a log scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.speed import results
from benchmarks.speed.check import OK
from benchmarks.speed.table import micro

_COLOURS = {"deepuq_jax": "#0b5fa5", "deepuq_torch": "#e07b00", results.FLOOR: "#9a9a9a", results.ORIGINAL: "#a02c2c"}
_PEER = "#d9b3a9"
_PANEL_WIDTH, _BAR_HEIGHT, _LEAST_BARS = 11.0, 0.27, 4


def draw(data: dict[str, Any], path: Path) -> None:
    """Write the picture; rows that are BAD are left out."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    parts = {name: _rows(part) for name, part in data["workloads"].items()}
    heights = [max(len(rows), _LEAST_BARS) for rows in parts.values()]
    figure = Figure(figsize=(_PANEL_WIDTH, _BAR_HEIGHT * sum(heights) + 1.0 * len(parts)), layout="constrained")
    axes = figure.subplots(len(parts), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axis, (name, rows) in zip(axes, parts.items(), strict=True):
        _panel(axis, name, rows)
    shown = {**_COLOURS, "other peers": _PEER}
    axes[0].legend([Patch(color=colour) for colour in shown.values()], shown, fontsize=8, loc="upper right")
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "speed"}):
        figure.savefig(path, dpi=110)


def _rows(part: dict[str, Any]) -> list[dict[str, Any]]:
    return sorted((row for row in results.timed(part) if row["check"] == OK), key=lambda row: row["median_s"])


def _panel(axis: Any, name: str, rows: list[dict[str, Any]]) -> None:
    medians = [row["median_s"] * 1e6 for row in rows]
    axis.barh(range(len(rows)), medians, color=[_COLOURS.get(row["package"], _PEER) for row in rows], height=0.75)
    for i, row in enumerate(rows):
        axis.text(medians[i] * 1.06, i, micro(row["median_s"]), va="center", fontsize=8)
    axis.set_yticks(range(len(rows)), [row["contestant"] for row in rows], fontsize=8)
    axis.set_xscale("log")
    if medians:
        axis.set_xlim(min(medians) / 2, max(medians) * 3)
    axis.invert_yaxis()
    axis.set_title(f"{name}: µs, log scale", fontsize=10, loc="left")
    axis.grid(axis="x", which="major", alpha=0.3)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
