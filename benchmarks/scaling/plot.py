"""The picture of the benchmark: for each axis, a panel of times above a panel of memory."""

from __future__ import annotations

from typing import Any, NamedTuple

from deepuq_jax.plots.style import BLUE, ORANGE, SMALL

# A vertical axis that spans less than this factor has the ticks 1, 2, 5 per decade.
SPAN = 200
COLOURS = {"training": BLUE, "prediction": ORANGE}
LABELS = {"parameters": "weights and biases", "draws": "draws", "batch": "batch", "devices": "devices"}


class Measure(NamedTuple):
    """What a panel shows: a column of the rows, its label, and its unit."""

    column: str
    label: str
    unit: float


# The upper panel shows times, and the lower panel memory. Devices share the cores of one machine, so the upper panel of
# this axis shows operations instead.
TIME, MEMORY = Measure("seconds", "milliseconds", 1e-3), Measure("peak", "peak memory per device, MB", 1e6)
OPERATIONS = Measure("operations", "billions of operations per device", 1e9)


def picture(record: dict[str, Any]) -> Any:
    """Draw times and memory, on logarithmic axes."""
    from matplotlib.figure import Figure

    axes_of = record["axes"]
    figure = Figure(figsize=(3.2 * len(axes_of), 5.6), layout="constrained")
    columns = figure.subplots(2, len(axes_of), squeeze=False).T
    for panels, (axis, kinds) in zip(columns, axes_of.items(), strict=True):
        for panel, measure in zip(panels, (OPERATIONS if axis == "devices" else TIME, MEMORY), strict=True):
            _panel(panel, axis, kinds, measure)
    handles, labels = columns[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(COLOURS), fontsize=SMALL, frameon=False)
    return figure


def _panel(panel: Any, axis: str, kinds: dict[str, Any], measure: Measure) -> None:
    for kind, rows in kinds.items():
        found = [row for row in rows if measure.column in row]
        x = [row["count"] if axis == "parameters" else row["value"] for row in found]
        y = [row[measure.column] / measure.unit for row in found]
        panel.loglog(x, y, "o-", color=COLOURS[kind], label=kind, ms=3.5)
    panel.set_xlabel(LABELS[axis], fontsize=SMALL)
    panel.set_ylabel(measure.label, fontsize=SMALL)
    panel.spines[["top", "right"]].set_visible(False)
    if axis == "devices":
        values = [row["value"] for row in next(iter(kinds.values()))]
        panel.set_xticks(values, [str(value) for value in values])
    low, high = panel.get_ylim()
    if high < SPAN * low:
        ticks = [digit * 10.0**power for power in range(-3, 7) for digit in (1, 2, 5)]
        ticks = [tick for tick in ticks if low <= tick <= high]
        panel.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.minorticks_off()
    panel.tick_params(labelsize=SMALL)
