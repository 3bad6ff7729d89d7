"""Plot a regression as a curve with bands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deepuq_jax.plots.style import BLUE, SKY, column, new_axes, plot_data, plot_truth, tidy
from deepuq_jax.types import UQResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_regression(
    x: Any, result: UQResult, *, data: Any = None, truth: Any = None, level: float = 0.95, ax: Axes | None = None
) -> Axes:
    """Plot a predictive mean with its epistemic and total bands.

    The inner band is the central interval of a Gaussian with the epistemic variance, mean -+ z sqrt(epistemic_var). The
    outer band is `result.interval(level)`; without an aleatoric variance it is left out.

    Args:
        x: inputs [n] or [n, 1], in any order.
        result: the result of `predict_vi_uq` at `x`, a regression with a single output.
        data: (x, y) of the observations, each [m] or [m, 1].
        truth: the noise-free function at `x`, [n] or [n, 1].
        level: probability inside each band.
        ax: axes to draw on; default: the axes of a new figure.
    Returns:
        The axes.
    Raises:
        ValueError: the shapes differ, the result has no epistemic variance, or the level is outside (0, 1).
        ImportError: matplotlib is not installed.

    >>> import jax.numpy as jnp
    >>> result = UQResult(mean=jnp.zeros(3), epistemic_var=jnp.ones(3))
    >>> [line.get_label() for line in plot_regression(np.arange(3), result).get_lines()]
    ['Mean']
    """
    if result.epistemic_var is None or result.probs is not None:
        raise ValueError("Expected a regression result with an epistemic_var; got another kind of result.")
    x = column("x", x)
    order = np.argsort(x)

    def ordered(name: str, values: Any) -> np.ndarray:
        return column(name, values, len(x))[order]

    mean = ordered("result.mean", result.mean)
    inner = UQResult(mean=result.mean, total_var=result.epistemic_var).interval(level)
    ax = new_axes((8, 4.6)) if ax is None else ax
    percent = f", {100 * level:g} %"
    if result.aleatoric_var is not None:
        low, high = (ordered("result.total_var", bound) for bound in result.interval(level))
        ax.fill_between(x[order], low, high, color=SKY, alpha=0.3, lw=0, label="Total" + percent, zorder=1)
    low, high = (ordered("result.epistemic_var", bound) for bound in inner)
    ax.fill_between(x[order], low, high, color=BLUE, alpha=0.35, lw=0, label="Epistemic" + percent, zorder=2)
    if data is not None:
        plot_data(ax, data)
    if truth is not None:
        plot_truth(ax, x[order], ordered("truth", truth))
    ax.plot(x[order], mean, color=BLUE, lw=2, label="Mean", zorder=5)
    ax.margins(x=0)
    tidy(ax, "x", "y")
    return ax
