"""Plot how well a model does without its least certain weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from deepuq_jax._checks import expected
from deepuq_jax.plots.style import BLUE, DASHED, INK, check_text, column, has, new_axes, percent, tidy
from deepuq_jax.pruning import prune

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FRACTIONS = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98)
_REFERENCE = "Nothing pruned"


def plot_pruning(
    model: Any,
    score: Callable[[Any], Any],
    *,
    fractions: Any = _FRACTIONS,
    label: str = "Pruned by signal-to-noise ratio",
    color: str = BLUE,
    ax: Axes | None = None,
) -> Axes:
    """Plot a score of the model against the share of its weights that is pruned.

    The dashed line is the score of the model as it is. On axes that hold such a picture already, only the curve is
    added.

    Args:
        model: any Bayesian model that `prune` takes.
        score: a function of a model that returns a number, such as its accuracy on test data.
        fractions: fractions of all weights to prune, at least 0 and below 1, [points].
        label: name of the curve.
        color: colour of the curve.
        ax: axes to draw on; default: the axes of a new figure.
    Returns:
        The axes. Name the score with `ax.set_ylabel`.
    Raises:
        ValueError, TypeError: as `prune`, or `score` is not a function of a model that returns a number.
        ImportError: matplotlib is not installed.
    Source: Blundell et al. 2015, arXiv 1505.05424, section 5.1.

    >>> from flax import nnx
    >>> from deepuq_jax import BayesByBackpropMLP
    >>> model = BayesByBackpropMLP(2, (4,), 1, rngs=nnx.Rngs(0))
    >>> ax = plot_pruning(model, lambda model: model.kl(), fractions=[0.5])
    >>> whole, pruned = (line.get_ydata()[0] for line in ax.get_lines())
    >>> bool(pruned < whole)  # a pruned weight adds nothing to the KL
    True
    """
    if not callable(score):
        raise TypeError(expected("score", "to be a function of a model", score))
    fractions = column("fractions", fractions)
    check_text("label", label)
    values = [_number(score(prune(model, fraction))) for fraction in fractions.tolist()]
    ax = new_axes((6, 3.8)) if ax is None else ax
    if not has(ax, _REFERENCE):
        ax.axhline(_number(score(model)), color=INK, lw=1, ls=DASHED, label=_REFERENCE)
        percent(ax.xaxis)
    ax.plot(fractions, values, "o-", ms=4, lw=1.5, color=color, label=label)
    tidy(ax, "Share of the weights that is pruned", "Score")
    return ax


def _number(value: Any) -> float:
    if np.shape(value) != () or not np.isrealobj(value):
        raise ValueError(expected("score", "to return a number", value))
    return float(value)
