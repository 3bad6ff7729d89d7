"""The report as a picture: how much of its tolerance each error uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepuq_jax.plots import BLUE, GREY, INK, ORANGE
from parity_tests.summary import PAIRS, dtypes, families, family_of

COLOURS = dict(zip(PAIRS, (BLUE, ORANGE, GREY), strict=True))
# Shares beyond these, such as those of errors of zero, stand at an edge.
_LEFT, _RIGHT = 1e-9, 10.0


def draw(data: dict[str, Any], path: Path) -> None:
    """Write the picture. The ending of `path` determines the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure(data).savefig(path, dpi=100)


def figure(data: dict[str, Any]) -> Any:
    """Draw a panel per dtype, a line per family of functions, and a dot per error."""
    from matplotlib.figure import Figure

    columns, names = dtypes(data), families()
    whole = Figure(figsize=(4.2 * len(columns), 0.42 * len(names) + 1.9), layout="constrained")
    axes = whole.subplots(1, len(columns), sharex=True, sharey=True, squeeze=False).ravel()
    for axis, dtype in zip(axes, columns, strict=True):
        _panel(axis, dtype, [row for row in data["rows"] if row["dtype"] == dtype], names)
    axes[0].invert_yaxis()  # The axes share it.
    whole.suptitle("Share of its tolerance that each error uses (log scale; left of the line is within tolerance)")
    handles, labels = axes[0].get_legend_handles_labels()
    whole.legend(handles, labels, loc="outside lower center", ncols=len(PAIRS), frameon=False)
    return whole


def _panel(axis: Any, dtype: str, rows: list[dict[str, Any]], names: list[str]) -> None:
    for offset, (pair, label) in zip((-0.22, 0.0, 0.22), PAIRS.items(), strict=True):
        measured = [row for row in rows if pair in row["errors"]]
        xs = [_place(row["errors"][pair]["share"]) for row in measured]
        ys = [names.index(family_of(row["case"])) + offset for row in measured]
        axis.plot(xs, ys, "o", ms=3.5, mew=0, alpha=0.6, color=COLOURS[pair], label=label)
    axis.axvline(1.0, color=INK, lw=1)
    axis.set_xscale("log")
    axis.set_xlim(_LEFT / 2, 2 * _RIGHT)
    axis.set_title(dtype)
    axis.set_yticks(range(len(names)), [name.replace("`", "") for name in names])


def _place(share: float | None) -> float:
    """Where a share stands; None is an error that is not finite."""
    return _RIGHT if share is None else min(max(share, _LEFT), _RIGHT)
