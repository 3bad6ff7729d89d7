"""The palette, new axes and frames that the pictures share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from deepuq_jax._checks import describe, expected

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# The palette of Okabe & Ito, which colour-blind readers can tell apart too.
BLUE, SKY, ORANGE, VERMILION = "#0072B2", "#56B4E9", "#E69F00", "#D55E00"
GREEN, PURPLE = "#009E73", "#CC79A7"
INK, GREY, PALE = "#333333", "#999999", "#DDDDDD"
# The order of the colours for curves or points side by side.
COLOURS = (BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE, INK)
SMALL = 8.5
DASHED = (0, (5, 2))


def figure_class() -> Callable[..., Figure]:
    """Import matplotlib's class of figures, which needs no display."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Plots need matplotlib: pip install 'deepuq-jax[demo]'.") from error
    return Figure


def new_axes(size: tuple[float, float]) -> Axes:
    """Make a figure of this size, in inches, with axes in it."""
    return figure_class()(figsize=size, layout="constrained").add_subplot()


def tidy(ax: Axes, xlabel: str, ylabel: str) -> None:
    """Frame two sides of the axes, and add axis labels and a legend."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(frameon=False, loc="best")


def put_legend_above(ax: Axes, columns: int = 1) -> None:
    """Move the legend out of axes that leave no room for it."""
    if ax.get_legend_handles_labels()[1]:
        place = (0.0, 1.0)
        ax.legend(frameon=False, loc="lower left", bbox_to_anchor=place, borderaxespad=0.3, borderpad=0, ncols=columns)


def has(ax: Axes, label: str) -> bool:
    """Whether an element of the axes has this label already.

    Curves of several models share the same axes, with a single reference beside them.
    """
    return label in ax.get_legend_handles_labels()[1]


def percent(*axes: Axis) -> None:
    """Show the numbers from 0 to 1 on these axes as percentages."""
    for axis in axes:
        axis.set_major_formatter(_as_percentage)


def _as_percentage(value: float, position: float) -> str:
    return f"{100 * value:.6g} %"


def plot_data(ax: Axes, data: Any) -> None:
    """Plot the observations (x, y), each [m] or [m, 1]."""
    points = [column(f"data[{i}]", values) for i, values in enumerate(data)]
    ax.scatter(*points, s=9, color=INK, alpha=0.55, lw=0, label="Data", zorder=3)


def plot_truth(ax: Axes, x: np.ndarray, values: np.ndarray) -> None:
    """Plot a function without noise, at ascending x."""
    ax.plot(x, values, color=VERMILION, lw=1.6, ls=DASHED, label="Truth, no noise", zorder=4)


def column(name: str, values: Any, size: int | None = None) -> np.ndarray:
    """Reshape values [n] or [n, 1] to [n]."""
    values = np.asarray(values)
    flat = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    if flat.ndim != 1 or (size is not None and len(flat) != size):
        shape = "[n] or [n, 1]" if size is None else f"[{size}] or [{size}, 1]"
        raise ValueError(f"Expected {name} of shape {shape}; got {list(values.shape)}.")
    return flat


def check_text(name: str, value: Any) -> str:
    """Require a string, such as a label."""
    if not isinstance(value, str):
        raise TypeError(expected(name, "to be a string", describe(value)))
    return value
