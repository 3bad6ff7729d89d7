"""Plot how much each layer has learned."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from deepuq_jax.diagnostics.weights import kl_per_weight, weight_tensors
from deepuq_jax.plots.style import BLUE, INK, SMALL, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_layer_kl(model: Any, *, ax: Axes | None = None) -> Axes:
    """Plot the KL divergence of each layer from its prior.

    The KL of a layer is the number of nats that it has learned from the data. A layer with almost 0 nats per weight is
    still at its prior.

    Args:
        model: any Bayesian model with mean-field posteriors.
        ax: axes to draw on; default: the axes of a new figure.
    Returns:
        The axes, with a bar per layer, from the input at the top to the output. Beside each bar stands the KL per
        weight.
    Raises:
        ValueError: the model has no mean-field posterior.
        ImportError: matplotlib is not installed.
    Source: Trippe & Turner 2018, arXiv 1801.06230.

    >>> from flax import nnx
    >>> from deepuq_jax import BayesByBackpropMLP
    >>> ax = plot_layer_kl(BayesByBackpropMLP(2, (4,), 1, rngs=nnx.Rngs(0)))
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['layers.0', 'layers.2']
    """
    paths, totals, sizes = [], [], []
    for path, group in groupby(weight_tensors(model), lambda tensor: tensor.layer):
        of_weights = np.concatenate([np.ravel(kl_per_weight(tensor)) for tensor in group])
        paths.append(path)
        totals.append(float(of_weights.sum()))
        sizes.append(of_weights.size)
    ax = new_axes((6.4, 1.1 + 0.34 * len(paths))) if ax is None else ax
    bars = ax.barh(range(len(paths)), totals, color=BLUE, height=0.7)
    notes = [f"{kl / size:.2g} per weight" for kl, size in zip(totals, sizes, strict=True)]
    ax.bar_label(bars, notes, padding=4, fontsize=SMALL, color=INK)
    ax.set_yticks(range(len(paths)), paths)
    ax.invert_yaxis()
    ax.margins(x=0.25)
    ax.set_xlim(left=0)
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.set_xlabel("KL from the prior, nats")
    return ax
