"""The picture of the benchmark: bytes and launches of each program."""

from __future__ import annotations

from typing import Any

from deepuq_jax.plots.style import BLUE, GREY, ORANGE, PALE, SMALL


def picture(record: dict[str, Any]) -> Any:
    """Draw bytes on a logarithmic axis and launches on a linear one, with a program per row."""
    from matplotlib.figure import Figure

    rows = record["rows"]
    figure = Figure(figsize=(10.0, 1.6 + 0.28 * len(rows)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    places = range(len(rows))
    moved, floor = ([1e-6 * row[name] for row in rows] for name in ("bytes", "floor_bytes"))
    left.hlines(places, floor, moved, color=PALE)
    left.plot(floor, places, "o", color=GREY, ms=4, label="arguments and results, once")
    left.plot(moved, places, "o", color=BLUE, ms=5, label="moved")
    left.set_xscale("log")
    right.barh(places, [row["launches"] for row in rows], color=ORANGE, height=0.6)
    left.set_yticks(places, [row["name"] for row in rows])
    left.invert_yaxis()
    for panel, label in ((left, "MB per run"), (right, "launches per run")):
        panel.set_xlabel(label, fontsize=SMALL)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=SMALL)
    left.legend(frameon=False, loc="upper left", fontsize=SMALL)
    figure.suptitle(f"Compiled for {record['target']}, never run", fontsize=SMALL)
    return figure
