"""Plot a training run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from deepuq_jax._checks import expected
from deepuq_jax.plots.style import BLUE, INK, ORANGE, VERMILION, column, figure_class, tidy
from deepuq_jax.training.result import FitResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# name in the history -> (label, colour, width of the line)
_SCORES = {
    "loss": ("Objective", INK, 1.0),
    "nll": ("NLL, training", BLUE, 1.6),
    "val_nll": ("NLL, validation", VERMILION, 1.6),
}
# In this first share of the epochs, scores may lie above their panel.
_START = 0.05


def plot_history(result: Any) -> Figure:
    """Plot the scores, the KL and its weight by epoch.

    The panel of scores reaches up to the largest value after the first twentieth of the epochs, because the first
    values are often so large that they would hide the rest.

    Args:
        result: the result of `fit`, or its `history`: arrays [epochs] by name. `loss`, `nll` and `val_nll` are in nats
            per example, and `kl` is in nats. A panel is left out if the history has none of its names.
    Returns:
        The figure, with panels above each other.
    Raises:
        ValueError, TypeError: the history is not a dict of arrays of the same length, or has none of the names.
        ImportError: matplotlib is not installed.

    >>> history = {"nll": np.array([3.0, 2.0]), "kl": np.array([5.0, 6.0]), "kl_weight": np.array([0.0, 1.0])}
    >>> [ax.get_ylabel() for ax in plot_history(history).axes]
    ['Nats per example', 'KL, nats', 'KL weight']
    """
    history = _checked(result)
    panels = [names for names in (tuple(_SCORES), ("kl",), ("kl_weight",)) if any(name in history for name in names)]
    if not panels:
        raise ValueError(expected("result", "to have a history with loss, nll, val_nll or kl", f"{sorted(history)}"))
    heights = [2.4 if names == tuple(_SCORES) else 1.2 for names in panels]
    figure = figure_class()(figsize=(6.4, sum(heights) + 0.8), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    epochs = np.arange(1, len(next(iter(history.values()))) + 1)
    for ax, names in zip(axes, panels, strict=True):
        if names == ("kl",):
            _plot_line(ax, epochs, history["kl"], BLUE, "KL, nats")
        elif names == ("kl_weight",):
            _plot_line(ax, epochs, history["kl_weight"], ORANGE, "KL weight")
        else:
            _plot_scores(ax, epochs, history)
    axes[-1].set(xlabel="Epoch", xlim=(1, max(len(epochs), 2)))
    figure.align_ylabels(axes)
    return figure


def _checked(result: Any) -> dict[str, np.ndarray]:
    """Return the history as arrays of the same length."""
    history = result.history if isinstance(result, FitResult) else result
    if not isinstance(history, Mapping):
        raise TypeError(expected("result", "to be the result of fit or its history", history))
    arrays = {name: column(f"history[{name!r}]", values) for name, values in history.items()}
    lengths = {len(values) for values in arrays.values()}
    if len(lengths) > 1 or 0 in lengths:
        raise ValueError(expected("result", "to have a history of at least one epoch, of one length", f"{lengths}"))
    return arrays


def _plot_scores(ax: Axes, epochs: np.ndarray, history: dict[str, np.ndarray]) -> None:
    shown = [name for name in _SCORES if name in history]
    for name in shown:
        label, color, width = _SCORES[name]
        ax.plot(epochs, history[name], color=color, lw=width, label=label)
    values = np.stack([history[name] for name in shown])
    late = values[:, int(_START * len(epochs)) :]
    if np.isfinite(late).any():
        low, high = values[np.isfinite(values)].min(), late[np.isfinite(late)].max()
        margin = 0.05 * (high - low) or 0.1
        ax.set_ylim(low - margin, high + margin)
    tidy(ax, "", "Nats per example")


def _plot_line(ax: Axes, epochs: np.ndarray, values: np.ndarray, color: str, label: str) -> None:
    ax.plot(epochs, values, color=color, lw=1.6)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_ylabel(label)
    finite = values[np.isfinite(values)]
    low, high = min(0.0, finite.min(initial=0.0)), finite.max(initial=0.0)
    ax.set_ylim(1.1 * low, 1.1 * high or 1.0)
