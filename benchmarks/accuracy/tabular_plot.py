"""The picture of the benchmark on tabular sets."""

from __future__ import annotations

from typing import Any

from benchmarks.accuracy import tabular_methods, tabular_peers
from benchmarks.accuracy.plot import COLOURS, SMALL, new_figure
from benchmarks.accuracy.tabular_compare import TASKS, Task, excess
from deepuq_jax.plots import INK, PALE

# Limits of the axis of the excess, in nats. The left limit is at the lowest excess, but between LEAST and NEAREST.
MOST, LEAST, NEAREST = 0.3, -1.0, -0.1

# Corresponding methods of classification and of regression share a colour and a place in a row.
_FAMILIES = (
    (tabular_methods.FIT,),
    (tabular_methods.FIT_OWN_NOISE,),
    (tabular_methods.TUNED,),
    (tabular_peers.FOREST,),
    (tabular_peers.PROCESS,),
    (tabular_peers.MLP_CLASSIFIER, tabular_peers.MLP_REGRESSOR),
    (tabular_peers.LOGISTIC, tabular_peers.RIDGE),
    (tabular_peers.ENSEMBLE,),
)


def picture(record: dict[str, Any]) -> Any:
    """Draw the excess NLL over the better reference, with one panel per kind of sets.

    A panel has a row per set and a dot per method. An excess beyond the limits is an arrowhead at the limit.
    """
    kinds = [kind for kind in TASKS if record[kind]]
    most = max(len(record[kind]) for kind in kinds)
    figure, axes = new_figure(1, len(kinds), (5.5 * len(kinds), 2.0 + 0.42 * most))
    for ax, kind in zip(axes, kinds, strict=True):
        _panel(ax, kind, TASKS[kind], {name: found["methods"] for name, found in record[kind].items()})
    known = {method for kind in kinds for found in record[kind].values() for method in found["methods"]}
    for family, colour in zip(_FAMILIES, COLOURS, strict=True):
        names = [method for method in family if method in known]
        if names:
            axes[0].plot([], [], "o", color=colour, label=" / ".join(names))
    handles, labels = axes[0].get_legend_handles_labels()
    columns = 1 + len(kinds)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=SMALL, frameon=False)
    return figure


def _panel(ax: Any, kind: str, task: Task, sets: dict[str, Any]) -> None:
    excesses = [excess(methods, task) for methods in sets.values()]
    lowest = min(min(values.values()) for values in excesses)
    least = min(max(lowest, LEAST), NEAREST)
    for row, values in enumerate(excesses):
        if row:
            ax.axhline(row - 0.5, color=PALE, lw=0.8, zorder=0)
        for place, (family, colour) in enumerate(zip(_FAMILIES, COLOURS, strict=True)):
            for method in family:
                if method in values:
                    height = row + 0.8 * ((place + 0.5) / len(_FAMILIES) - 0.5)
                    _dot(ax, values[method], height, colour, least)
    ax.axvline(0, color=INK, lw=0.8, zorder=0)
    ax.set_yticks(range(len(sets)), list(sets))
    ax.set_ylim(len(sets) - 0.5, -0.5)
    margin = 0.03 * (MOST - least)
    ax.set_xlim(least - margin, MOST + margin)
    first, second = task.references
    ax.set_title(f"{kind}: NLL minus the lower of {first}\nand {second}, nats", fontsize=SMALL, loc="left")
    ax.tick_params(labelsize=SMALL)
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)


def _dot(ax: Any, value: float, height: float, colour: str, least: float) -> None:
    marker = "o"
    if value > MOST:
        marker = ">"
    if value < least:
        marker = "<"
    ax.plot(min(max(value, least), MOST), height, marker, color=colour, ms=4.5, mew=0, clip_on=False)
