"""The table as a picture that fits a screen: a panel per workload, and a bar per library."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from benchmarks.speed import results
from benchmarks.speed.contestant import FLOOR, ORIGINAL
from benchmarks.speed.table import micro
from deepuq_jax.plots import BLUE, GREY, INK, ORANGE, PALE, SKY

COLOURS = {"deepuq_jax": BLUE, "deepuq_torch": SKY, ORIGINAL: ORANGE, FLOOR: GREY}
_LEGEND = {
    "deepuq_jax": BLUE,
    "deepuq_torch": SKY,
    f"{ORIGINAL} (the original)": ORANGE,
    "other libraries": PALE,
    "the same network without uncertainty": GREY,
}
_STYLES = {"call": "one call per step", "flat": "flat state"}
_WIDTH, _HEIGHT, _MOST_COLUMNS = 3.4, 3.5, 5  # inches of a panel, and panels in a row
_SMALL = 8


def draw(data: dict[str, Any], path: Path) -> None:
    """Write the picture; BAD rows are left out."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    # Training comes first, in the file's order; columns are filled from top to bottom.
    parts = sorted(data["workloads"].items(), key=lambda item: item[0].startswith("predict"))
    count = max(1, len(parts))
    rows = math.ceil(count / _MOST_COLUMNS)
    columns = math.ceil(count / rows)
    figure = Figure(figsize=(max(2, columns) * _WIDTH, rows * _HEIGHT + 0.9), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).T.ravel()
    for axis, (name, part) in zip(axes, parts, strict=False):
        _panel(axis, name, libraries(part))
    for axis in axes[len(parts) :]:
        axis.set_axis_off()
    figure.suptitle(
        "Time of each library's fastest row, in units of the fastest network without uncertainty (log scale)"
    )
    handles = [Patch(color=colour, label=label) for label, colour in _LEGEND.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def libraries(part: dict[str, Any]) -> list[dict[str, Any]]:
    """The fastest row of each library among those whose check is ok, in the order of their times.

    In each framework, the network without uncertainty counts as a library.
    """
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for row in sorted(results.right(part), key=results.median):
        best.setdefault((row["package"], row["framework"]), row)
    return list(best.values())


def _panel(axis: Any, name: str, rows: list[dict[str, Any]]) -> None:
    """Draw bars that start at 1, on a log scale.

    The unit is the time of the fastest floor, or of the fastest row if there is no floor.
    """
    axis.invert_yaxis()
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    if not rows:
        axis.set_title(name, fontsize=9)
        return
    unit = next((row for row in rows if row["package"] == FLOOR), rows[0])["median_s"]
    ratios = [row["median_s"] / unit for row in rows]
    colours = [COLOURS.get(row["package"], PALE) for row in rows]
    axis.barh(range(len(rows)), [ratio - 1 for ratio in ratios], left=1, color=colours, height=0.75)
    axis.axvline(1, color=INK, lw=0.8)
    for i, ratio in enumerate(ratios):
        place = dict(xytext=(3, 0), textcoords="offset points", va="center")
        axis.annotate(_three_digits(ratio), (max(ratio, 1), i), fontsize=_SMALL, **place)
    axis.set_yticks(range(len(rows)), [_label(row, name) for row in rows], fontsize=_SMALL)
    _scale(axis, min(ratios), max(ratios))
    # The title also spans the labels, because the panel is narrow.
    axis.set_title(f"{name}\n1 = {micro(unit)} µs", fontsize=9, loc="right")


def _scale(axis: Any, low: float, high: float) -> None:
    """Make a log axis with a few plain numbers, and with room for the values of the longest bars."""
    span = max(high, 1.5) / low
    axis.set_xscale("log")
    axis.set_xlim(low / span**0.02, low * span**1.25)
    ticks = [1, 2, 5, 10, 20] if span < 50 else [1, 10, 100, 1000]
    ticks = [1, 1.5, 2] if span < 3 else ticks
    ticks = [tick for tick in ticks if tick <= high]
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=_SMALL)
    axis.set_xticks([], minor=True)


def _three_digits(ratio: float) -> str:
    """A ratio of at least 1 to three digits."""
    if ratio < 10:
        return f"{ratio:.2f}"
    return f"{ratio:.1f}" if ratio < 100 else f"{ratio:,.0f}"


def _label(row: dict[str, Any], workload: str) -> str:
    package = row["package"]
    if package == FLOOR:
        package = "JAX" if row["framework"] == "jax" else "torch"
    style = row["style"]
    if style == "scanned" and workload.startswith("predict"):
        return package  # the style says how training is called
    return f"{package}, {_STYLES.get(style, style)}"
