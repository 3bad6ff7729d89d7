"""Plot a comparison of methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from deepuq_jax._checks import expected
from deepuq_jax.plots.style import BLUE, DASHED, GREY, INK, check_text, column, has, new_axes, put_legend_above, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_REPEAT = "Each repeat"


def plot_methods(
    scores: Mapping[str, Any],
    *,
    errors: Mapping[str, Any] | None = None,
    xlabel: str = "Score",
    reference: tuple[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot a dot with its error per method.

    Repeated scores (over seeds or splits) are shown as small pale dots, with their mean and its standard error,
    std / sqrt(n). Two methods that share their splits can differ clearly even if their bars overlap.

    Args:
        scores: name -> repeated scores [n] with n > 1, or a single score; the methods stand in this order.
        errors: name -> standard error, for the methods with a single score.
        xlabel: name of the score, with its unit.
        reference: a name and a score to draw as a dashed line, such as a published score.
        ax: axes to draw on; default: the axes of a new figure.
    Returns:
        The axes.
    Raises:
        ValueError, TypeError: the scores are not finite numbers by name, or an error is given for a method without a
            single score.
        ImportError: matplotlib is not installed.

    >>> ax = plot_methods({"Bayesian": np.array([0.1, 0.3]), "ensemble": 0.4}, errors={"ensemble": 0.05})
    >>> [round(float(container.lines[0].get_xdata()[0]), 2) for container in ax.containers]
    [0.2, 0.4]
    """
    rows = _rows(scores, {} if errors is None else errors)
    ax = new_axes((6.4, 1.3 + 0.36 * len(rows))) if ax is None else ax
    for i, (repeats, error) in enumerate(rows.values()):
        if len(repeats) > 1:
            label = "_" if has(ax, _REPEAT) else _REPEAT
            ax.plot(repeats, np.full(len(repeats), i), "o", ms=3.5, mew=0, color=GREY, alpha=0.6, label=label)
        label = "Mean and its standard error" if len(repeats) > 1 else "Score and its standard error"
        label = "_" if error is None or has(ax, label) else label
        reach = None if error is None else [error]
        ax.errorbar([repeats.mean()], [i], xerr=reach, fmt="o", ms=6, capsize=3, color=BLUE, zorder=3, label=label)
    if reference is not None:
        name, value = reference
        ax.axvline(float(value), color=INK, lw=1, ls=DASHED, label=check_text("reference[0]", name))
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", color=GREY, alpha=0.25, lw=0.6)
    ax.set_axisbelow(True)
    tidy(ax, check_text("xlabel", xlabel), "")
    put_legend_above(ax, columns=3)
    return ax


def _rows(scores: Any, errors: Any) -> dict[str, tuple[np.ndarray, float | None]]:
    """Return the repeats and the standard error of each method."""
    for name, value in (("scores", scores), ("errors", errors)):
        if not isinstance(value, Mapping):
            raise TypeError(expected(name, "to be a dict of numbers by name", value))
    if not scores:
        raise ValueError(expected("scores", "to hold a method", "none"))
    rows: dict[str, tuple[np.ndarray, float | None]] = {}
    for name, values in scores.items():
        repeats = column(f"scores[{name!r}]", np.atleast_1d(np.asarray(values, float)))
        if not len(repeats) or not np.isfinite(repeats).all():
            raise ValueError(expected(f"scores[{name!r}]", "to be finite", "NaN, infinity or nothing"))
        error = None if len(repeats) == 1 else repeats.std(ddof=1) / len(repeats) ** 0.5
        rows[check_text("a name of scores", name)] = repeats, error
    for name, error in errors.items():
        if name not in rows or len(rows[name][0]) > 1:
            raise ValueError(expected("errors", "to name methods with a single score", f"{name!r}"))
        if not np.isfinite(error) or error < 0:
            raise ValueError(expected(f"errors[{name!r}]", "to be finite and at least 0", f"{error!r}"))
        rows[name] = rows[name][0], float(error)
    return rows
