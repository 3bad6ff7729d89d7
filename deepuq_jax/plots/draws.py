"""Plot functions drawn from the posterior."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax import Array

from deepuq_jax._checks import check_count, check_key
from deepuq_jax._inputs import real_array
from deepuq_jax.plots.style import BLUE, INK, column, new_axes, plot_data, plot_truth, put_legend_above, tidy
from deepuq_jax.prediction.moments import predict_vi_uq

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_draws(
    model: Any,
    x: Any,
    *,
    key: Array,
    n_samples: int = 20,
    data: Any = None,
    truth: Any = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot the mean that each draw of the weights predicts, and their average.

    Each draw is a single function of x, so the lines show which curves are plausible under the posterior; a band would
    show only their spread.

    Args:
        model: a Bayesian model of a single output, in regression.
        x: inputs [n] or [n, 1], in any order.
        key: a key of `jax.random.key`.
        n_samples: number of draws.
        data: (x, y) of the observations, each [m] or [m, 1].
        truth: the noise-free function at `x`, [n] or [n, 1].
        ax: axes to draw on; default: the axes of a new figure.
    Returns:
        The axes.
    Raises:
        ValueError, TypeError: a shape or the number of draws is invalid, or the model has several outputs or is a
            classification.
        ImportError: matplotlib is not installed.

    >>> from flax import nnx
    >>> from deepuq_jax import BayesByBackpropMLP, Gaussian
    >>> model = BayesByBackpropMLP(1, (4,), 1, likelihood=Gaussian(0.1), rngs=nnx.Rngs(0))
    >>> len(plot_draws(model, np.linspace(-1, 1, 5), key=jax.random.key(0), n_samples=3).get_lines())
    4
    """
    check_key(key)
    keys = jax.random.split(key, check_count("n_samples", n_samples))
    x = column("x", x)
    order = np.argsort(x)
    inputs = real_array("x", x[order])[:, None]

    def of_draw(key: Array) -> Array:
        result = predict_vi_uq(model, inputs, key=key, n_samples=1)
        if result.probs is not None:
            raise ValueError("Expected model to be a regression; got a classification.")
        return result.mean

    lines = np.stack([column("the model's mean", mean, len(x)) for mean in np.asarray(jax.vmap(of_draw)(keys))])
    ax = new_axes((8, 4.6)) if ax is None else ax
    for i, line in enumerate(lines):
        ax.plot(x[order], line, color=BLUE, lw=0.8, alpha=0.45, label="Draw" if i == 0 else "_", zorder=1)
    if data is not None:
        plot_data(ax, data)
    if truth is not None:
        plot_truth(ax, x[order], column("truth", truth, len(x))[order])
    ax.plot(x[order], lines.mean(axis=0), color=INK, lw=1.8, label="Average of the draws", zorder=5)
    ax.margins(x=0)
    tidy(ax, "x", "y")
    put_legend_above(ax, columns=4)
    return ax
