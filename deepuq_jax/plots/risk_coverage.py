"""Plot the loss that remains if the unsure examples are left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deepuq_jax.metrics.ranking import risk_coverage
from deepuq_jax.plots.style import BLUE, DASHED, GREY, INK, check_text, has, new_axes, percent, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_REFERENCE = "All examples, or a choice at random"


def plot_risk_coverage(
    scores: Any, losses: Any, *, label: str = "Surest first", color: str = BLUE, ax: Axes | None = None
) -> Axes:
    """Plot the mean loss of the surest examples against their share.

    The dashed line is the mean loss of all examples, which a random choice also has on average. The dotted curve sorts
    the examples by the losses themselves: no uncertainty does better. On axes that hold such a picture already, only
    the curve is added.

    Args:
        scores: `UQResult`, or uncertainties [batch], as in `metrics.risk_coverage`.
        losses: losses [batch], such as `result.probs.argmax(1) != y` or a squared error.
        label: name of the curve; the area under it is added.
        color: colour of the curve.
        ax: axes to draw on; default: the axes of a new figure.
    Returns:
        The axes.
    Raises:
        ValueError, TypeError: as `metrics.risk_coverage`.
        ImportError: matplotlib is not installed.
    Source: Geifman & El-Yaniv 2017, arXiv 1705.08500.

    >>> ax = plot_risk_coverage(np.array([0.3, 0.1, 0.2]), np.array([1.0, 0.0, 0.5]))
    >>> ax.get_lines()[-1].get_ydata().tolist()
    [0.0, 0.25, 0.5]
    """
    curve = risk_coverage(scores, losses)
    coverage, risk = np.asarray(curve.coverage), np.asarray(curve.risk)
    label = f"{check_text('label', label)}, area {float(curve.area):.3g}"
    ax = new_axes((5.6, 4)) if ax is None else ax
    if not has(ax, _REFERENCE):
        best = np.cumsum(np.sort(np.asarray(losses, risk.dtype))) / np.arange(1, len(risk) + 1)
        ax.axhline(risk[-1], color=INK, lw=1, ls=DASHED, label=_REFERENCE)
        ax.plot(coverage, best, color=GREY, lw=1.2, ls=":", label="Smallest losses first")
        percent(ax.xaxis)
    ax.plot(coverage, risk, color=color, lw=1.8, label=label)
    ax.set_xlim(0, 1)
    tidy(ax, "Share of the examples that are kept", "Mean loss of those")
    return ax
