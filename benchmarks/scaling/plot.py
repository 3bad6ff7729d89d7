"""The picture of the benchmark: a panel per axis for time and for memory."""

from __future__ import annotations

from typing import Any

from deepuq_jax.plots import BLUE, GREY, ORANGE, SMALL

COLOURS = {"training": BLUE, "prediction": ORANGE}
MEASURES = (("seconds", "milliseconds", 1e3), ("peak", "peak memory per device, MB", 1e-6))
LABELS = {"parameters": "weights and biases", "draws": "draws", "batch": "batch", "devices": "devices"}


def picture(record: dict[str, Any]) -> Any:
    """Draw times and memory, on logarithmic axes."""
    from matplotlib.figure import Figure

    axes_of = record["axes"]
    figure = Figure(figsize=(3.2 * len(axes_of), 5.6), layout="constrained")
    grid = figure.subplots(len(MEASURES), len(axes_of), squeeze=False)
    for panels, (measure, label, unit) in zip(grid, MEASURES, strict=True):
        for panel, (axis, kinds) in zip(panels, axes_of.items(), strict=True):
            _panel(panel, axis, kinds, measure, unit)
        panels[0].set_ylabel(label, fontsize=SMALL)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(COLOURS), fontsize=SMALL, frameon=False)
    return figure


def _panel(panel: Any, axis: str, kinds: dict[str, Any], measure: str, unit: float) -> None:
    panel.set_xlabel(LABELS[axis], fontsize=SMALL)
    panel.tick_params(labelsize=SMALL)
    panel.spines[["top", "right"]].set_visible(False)
    for kind, rows in kinds.items():
        found = [row for row in rows if measure in row]
        x = [row["count"] if axis == "parameters" else row["value"] for row in found]
        panel.plot(x, [unit * row[measure] for row in found], "o-", color=COLOURS[kind], label=kind, ms=3.5)
    if any(measure in row for rows in kinds.values() for row in rows):
        panel.set_xscale("log")
        panel.set_yscale("log")
    else:
        panel.text(0.5, 0.5, "not timed", color=GREY, ha="center", transform=panel.transAxes, fontsize=SMALL)
