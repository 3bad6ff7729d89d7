"""The picture of the benchmark on tabular sets."""

from __future__ import annotations

from typing import Any

from benchmarks.accuracy import tabular_methods, tabular_peers
from benchmarks.accuracy.plot import COLOURS, SMALL, _figure
from benchmarks.accuracy.tabular_compare import TASKS, Task, excess
from deepuq_jax.plots import INK, PALE

MOST, LEAST = 0.3, -0.6

# Methods of both kinds of sets that answer to each other share a colour.
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
_COLOUR = {name: colour for names, colour in zip(_FAMILIES, COLOURS, strict=True) for name in names}


def picture(record: dict[str, Any]) -> Any:
    """Excess NLL over the better reference: a row per set, a dot per method, a panel per kind of sets.

    Excess beyond the limits of a panel is drawn at the limit as an arrowhead.
    """
    kinds = [kind for kind in TASKS if record[kind]]
    most = max(len(record[kind]) for kind in kinds)
    figure, axes = _figure(1, len(kinds), (5.2 * len(kinds), 1.9 + 0.32 * most))
    for ax, kind in zip(axes, kinds, strict=True):
        _panel(ax, kind, TASKS[kind], {name: found["methods"] for name, found in record[kind].items()})
    handles = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=4, fontsize=SMALL, frameon=False
    )
    return figure


def _panel(ax: Any, kind: str, task: Task, sets: dict[str, Any]) -> None:
    excesses = {name: excess(methods, task) for name, methods in sets.items()}
    labelled = set()
    for row, values in enumerate(excesses.values()):
        ax.axhline(row, color=PALE, lw=0.8, zorder=0)
        for method in task.order:
            if method not in values or method not in _COLOUR:
                continue
            label = method if method not in labelled else None
            labelled.add(method)
            _dot(ax, values[method], row, _COLOUR[method], label)
    ax.axvline(0, color=INK, lw=0.8)
    ax.set_yticks(range(len(sets)), list(sets))
    ax.set_ylim(len(sets) - 0.5, -0.5)
    ax.set_xlim(LEAST - 0.03, MOST + 0.03)
    first, second = task.references
    ax.set_title(f"{kind}: NLL minus the lower of {first}\nand {second}, nats", fontsize=SMALL, loc="left")
    ax.tick_params(labelsize=SMALL)
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)


def _dot(ax: Any, value: float, row: int, colour: str, label: str | None) -> None:
    marker = "o"
    if value > MOST:
        marker = ">"
    if value < LEAST:
        marker = "<"
    # An empty series carries the label, so that an arrowhead never stands in the legend.
    if label is not None:
        ax.plot([], [], "o", color=colour, label=label)
    ax.plot(min(max(value, LEAST), MOST), row, marker, color=colour, ms=5.5, alpha=0.85, mew=0)
