"""Plot how often a classifier is right at each confidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deepuq_jax.metrics.calibration import reliability
from deepuq_jax.plots.style import BLUE, DASHED, INK, PALE, check_text, has, new_axes, percent, put_legend_above, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_REFERENCE = "Calibrated"
_Z = 1.959964  # The standard normal quantile of a 95 % interval.


def plot_reliability(
    prediction: Any,
    y: Any,
    *,
    bins: int = 15,
    binning: str = "width",
    label: str = "Accuracy",
    color: str = BLUE,
    ax: Axes | None = None,
) -> Axes:
    """Plot a reliability diagram.

    A point per bin shows the accuracy against the mean confidence, with its 95 % Wilson interval. The pale bars show
    the share of the examples in each bin. On axes that hold a diagram already, only the points are added.

    Args:
        prediction: `UQResult` of a classification, or probabilities [batch, classes].
        y: integer labels [batch].
        bins, binning: as in `metrics.reliability`.
        label: name of the points; the expected calibration error (ECE) is added to it.
        color: colour of the points.
        ax: axes to draw on; default: the axes of a new figure.
    Returns:
        The axes.
    Raises:
        ValueError, TypeError: as `metrics.reliability`.
        ImportError: matplotlib is not installed.
    Source: Guo et al. 2017, arXiv 1706.04599; interval: Wilson 1927.

    >>> probs = np.array([[0.9, 0.1], [0.3, 0.7]])
    >>> [text.get_text() for text in plot_reliability(probs, np.array([0, 0]), bins=2).get_legend().get_texts()]
    ['Calibrated', 'Share of the examples', 'Accuracy, ECE 0.300']
    """
    data = reliability(prediction, y, bins=bins, binning=binning)
    confidence, accuracy, count, edges = map(np.asarray, data)
    label = f"{check_text('label', label)}, ECE {float(data.error):.3f}"
    ax = new_axes((4.8, 5.2)) if ax is None else ax
    if not has(ax, _REFERENCE):
        share = count / count.sum()
        ax.bar(edges[:-1], share, np.diff(edges), align="edge", color=PALE, lw=0, label="Share of the examples")
        ax.plot([0, 1], [0, 1], color=INK, lw=1, ls=DASHED, label=_REFERENCE)
        ax.set(xlim=(0, 1), ylim=(0, 1))
        percent(ax.xaxis, ax.yaxis)
    held = count > 0
    reach = np.abs(_wilson(accuracy[held], count[held]) - accuracy[held])
    points = ax.errorbar(
        confidence[held], accuracy[held], reach, fmt="o-", ms=5, lw=1.2, capsize=2, color=color, label=label
    )
    for part in points.get_children():
        part.set_clip_on(False)  # Points at 100 % are then drawn whole.
    tidy(ax, "Confidence: highest class probability", "Accuracy")
    put_legend_above(ax)
    return ax


def _wilson(share: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Compute the ends of Wilson's interval, [2, bins]."""
    square = _Z**2 / count
    reach = np.sqrt(square * (share * (1 - share) + square / 4))
    centre = share + square / 2
    return np.stack([centre - reach, centre + reach]) / (1 + square)
