"""Plot how many targets the intervals of each level contain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from deepuq_jax._checks import expected
from deepuq_jax.metrics.intervals import interval_coverage
from deepuq_jax.plots.style import BLUE, DASHED, INK, PALE, check_text, column, has, new_axes, percent, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEVELS = np.linspace(0.05, 0.95, 19)
_REFERENCE = "Calibrated"
_Z = 1.959964  # The standard normal quantile of a 95 % interval.


def plot_coverage(
    prediction: Any,
    y: Any,
    *,
    levels: Any = _LEVELS,
    label: str = "Observed",
    color: str = BLUE,
    ax: Axes | None = None,
) -> Axes:
    """Plot the observed coverage of central intervals against their level.

    A curve below the diagonal belongs to intervals that are too narrow. The pale band holds 95 % of the shares that a
    calibrated model has for this number of targets, if they are independent: level -+ 1.96 sqrt(level (1 - level) / n).
    On axes that hold such a picture already, only the curve is added.

    Args:
        prediction: `UQResult` of a regression, or a pair (mean, var) of Gaussians.
        y: targets of the shape of the mean.
        levels: probabilities between 0 and 1, ascending, [levels].
        label: name of the curve.
        color: colour of the curve.
        ax: axes to draw on; default: the axes of a new figure.
    Returns:
        The axes.
    Raises:
        ValueError, TypeError: as `metrics.interval_coverage`, or the levels are not an ascending array.
        ImportError: matplotlib is not installed.

    >>> y = np.array([0.0, 1.0, -1.5, 3.0])
    >>> ax = plot_coverage((np.zeros(4), np.ones(4)), y, levels=[0.5, 0.95])
    >>> ax.get_lines()[-1].get_ydata().tolist()
    [0.25, 0.75]
    """
    levels = column("levels", levels).astype(float)
    if not len(levels) or not (np.diff([0, *levels, 1]) > 0).all():
        raise ValueError(expected("levels", "to ascend between 0 and 1", levels))
    check_text("label", label)

    def observed_at(level: Any) -> Any:
        return interval_coverage(prediction, y, level=level)

    observed = np.asarray(jax.vmap(observed_at)(jnp.asarray(levels, jnp.float32)))
    ax = new_axes((5, 4.6)) if ax is None else ax
    if not has(ax, _REFERENCE):
        _plot_reference(ax, np.size(y))
    ax.plot(levels, observed, "o-", ms=4, lw=1.5, color=color, label=label)
    tidy(ax, "Level of the central interval", "Share of the targets inside")
    return ax


def _plot_reference(ax: Axes, count: int) -> None:
    """Plot the diagonal, and the band of chance for `count` targets."""
    level = np.linspace(0, 1, 201)
    reach = _Z * np.sqrt(level * (1 - level) / count)
    name = f"Chance, 95 %, {count:,} targets"
    ax.fill_between(level, level - reach, level + reach, color=PALE, lw=0, label=name)
    ax.plot([0, 1], [0, 1], color=INK, lw=1, ls=DASHED, label=_REFERENCE)
    ax.set(xlim=(0, 1), ylim=(0, 1))
    percent(ax.xaxis, ax.yaxis)
