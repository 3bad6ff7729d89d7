"""Plot how clearly the weights differ from 0."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from deepuq_jax.diagnostics.weights import WeightTensor, weight_tensors
from deepuq_jax.plots.style import COLOURS, GREY, INK, new_axes, percent, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_signal_to_noise(model: Any, *, ax: Axes | None = None) -> Axes:
    """Plot the distribution of the weights' signal-to-noise ratio.

    A curve per layer, and a black curve over all weights, show the share of the weights whose ratio |mu| / sigma is
    below a value in decibels, 20 log10(|mu| / sigma). `prune(model, share)` removes the weights to the left of the
    point at which the black curve reaches that share. Weights with the mean 0, such as pruned ones, are at minus
    infinity, so the curves may start above 0.

    Args:
        model: any Bayesian model with mean-field posteriors.
        ax: axes to draw on; default: the axes of a new figure.
    Returns:
        The axes. With more layers than colours, the curves of the layers are grey and have no names.
    Raises:
        ValueError: the model has no mean-field posterior.
        ImportError: matplotlib is not installed.
    Source: Blundell et al. 2015, arXiv 1505.05424, section 5.1.

    >>> from flax import nnx
    >>> from deepuq_jax import BayesByBackpropMLP
    >>> ax = plot_signal_to_noise(BayesByBackpropMLP(2, (4,), 1, rngs=nnx.Rngs(0)))
    >>> [line.get_label() for line in ax.get_lines()]
    ['layers.0', 'layers.2', 'All weights']
    """
    tensors = weight_tensors(model)
    layers = {path: _decibels(list(group)) for path, group in groupby(tensors, lambda tensor: tensor.layer)}
    ax = new_axes((6, 4)) if ax is None else ax
    is_named = 1 < len(layers) <= len(COLOURS)
    for i, (path, ratios) in enumerate(layers.items()):
        if is_named:
            _plot(ax, ratios, color=COLOURS[i], width=1.6, label=path)
        elif len(layers) > 1:
            _plot(ax, ratios, color=GREY, width=0.8, label="A layer" if i == 0 else "_")
    _plot(ax, np.sort(np.concatenate(list(layers.values()))), color=INK, width=2.2, label="All weights")
    ax.set_ylim(0, 1)
    percent(ax.yaxis)
    tidy(ax, r"Signal-to-noise ratio $|\mu|\,/\,\sigma$, dB", "Share of the weights below")
    return ax


def _decibels(tensors: list[WeightTensor]) -> np.ndarray:
    """Return the ratios of a layer's weights in decibels, ascending."""
    ratios = np.concatenate([np.ravel(tensor.signal_to_noise) for tensor in tensors])
    with np.errstate(divide="ignore"):
        return np.sort(20 * np.log10(ratios))


def _plot(ax: Axes, ratios: np.ndarray, *, color: str, width: float, label: str) -> None:
    """Plot the share of the ratios at or below each."""
    shares = np.arange(1, len(ratios) + 1) / len(ratios)
    finite = np.isfinite(ratios)
    ax.plot(ratios[finite], shares[finite], color=color, lw=width, drawstyle="steps-post", label=label)
