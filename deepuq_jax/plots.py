"""Plot predictions with their uncertainty.

Regressions are shown as curves with bands, classified images with their class probabilities. Matplotlib is imported
when a plot is made, never earlier. Figures are made without pyplot, so no global state changes and no display is
needed. Save them with ``axes.figure.savefig(...)`` or ``figure.savefig(...)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from deepuq_jax._checks import check_count
from deepuq_jax.types import UQResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The palette of Okabe & Ito, which colour-blind readers can tell apart too.
BLUE, SKY, ORANGE, VERMILION = "#0072B2", "#56B4E9", "#E69F00", "#D55E00"
INK, GREY, PALE = "#333333", "#999999", "#DDDDDD"
SMALL = 8.5


def _figure_class() -> Callable[..., Figure]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Plots need matplotlib: pip install 'deepuq-jax[demo]'.") from error
    return Figure


def _column(name: str, values: Any, size: int | None = None) -> np.ndarray:
    """Reshape values [n] or [n, 1] to [n]."""
    values = np.asarray(values)
    flat = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    if flat.ndim != 1 or (size is not None and len(flat) != size):
        shape = "[n] or [n, 1]" if size is None else f"[{size}] or [{size}, 1]"
        raise ValueError(f"Expected {name} of shape {shape}; got {list(values.shape)}.")
    return flat


def plot_regression(
    x: Any, result: UQResult, *, data: Any = None, truth: Any = None, level: float = 0.95, ax: Axes | None = None
) -> Axes:
    """Plot a predictive mean with its epistemic and total bands.

    The bands are central intervals of Gaussians, mean -+ z sqrt(var): the inner band uses the epistemic variance, and
    the outer band is `result.interval(level)`. Without an aleatoric variance the outer band is left out.

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
    x = _column("x", x)
    order = np.argsort(x)

    def column(name: str, values: Any) -> np.ndarray:
        return _column(name, values, len(x))[order]

    mean = column("result.mean", result.mean)
    inner = UQResult(mean=result.mean, total_var=result.epistemic_var).interval(level)
    if ax is None:
        ax = _figure_class()(figsize=(8, 4.6), layout="constrained").add_subplot()
    percent = f", {100 * level:g} %"
    if result.aleatoric_var is not None:
        low, high = (column("result.total_var", bound) for bound in result.interval(level))
        ax.fill_between(x[order], low, high, color=SKY, alpha=0.3, lw=0, label="Total" + percent, zorder=1)
    low, high = (column("result.epistemic_var", bound) for bound in inner)
    ax.fill_between(x[order], low, high, color=BLUE, alpha=0.35, lw=0, label="Epistemic" + percent, zorder=2)
    if data is not None:
        points = [_column(f"data[{i}]", values) for i, values in enumerate(data)]
        ax.scatter(*points, s=9, color=INK, alpha=0.55, lw=0, label="Data", zorder=3)
    if truth is not None:
        ax.plot(
            x[order], column("truth", truth), color=VERMILION, lw=1.6, ls=(0, (5, 2)), label="Truth, no noise", zorder=4
        )
    ax.plot(x[order], mean, color=BLUE, lw=2, label="Mean", zorder=5)
    _tidy(ax)
    return ax


def _tidy(ax: Axes) -> None:
    """Frame two sides of the axes, and add a legend."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.set(xlabel="x", ylabel="y")
    ax.margins(x=0)
    ax.legend(frameon=False, loc="best")


def plot_certainty(
    images: Any, result: UQResult, *, labels: Any = None, unseen: tuple[Any, UQResult] | None = None, count: int = 8
) -> Figure:
    """Plot the most and the least certain images.

    Each image stands above its class probabilities. Images are ranked by predictive entropy. With `unseen`, a third
    row shows the first unseen images, in their own order.

    Args:
        images: grey values [batch, height, width].
        result: the result of `predict_vi_uq` at these images, a classification.
        labels: true classes [batch]; if the prediction misses the true class, both bars are coloured.
        unseen: (images, result) of things that belong to no class.
        count: images per row.
    Returns:
        The figure, with a row of images per group.
    Raises:
        ValueError: the result has no probabilities, or the number of images differs from the result's.
        ImportError: matplotlib is not installed.

    >>> probs = np.array([[0.9, 0.1], [0.5, 0.5]])
    >>> result = UQResult(mean=probs, probs=probs, predictive_entropy=np.array([0.33, 0.69]))
    >>> len(plot_certainty(np.zeros((2, 8, 8)), result, count=1).subfigs)
    2
    """
    images, entropy = _checked_images("images", images, result)
    count = min(check_count("count", count), len(images))
    order = np.argsort(entropy, kind="stable")
    rows = [("Most certain", order[:count]), ("Least certain", order[::-1][:count])]
    height = 2.2 * (len(rows) + (unseen is not None))
    figure = _figure_class()(figsize=(max(1.2 * count, 4.8), height), layout="constrained")
    parts = np.atleast_1d(np.asarray(figure.subfigures(len(rows) + (unseen is not None), 1, hspace=0.06)))
    for part, (title, chosen) in zip(parts, rows, strict=False):
        true = None if labels is None else np.asarray(labels)[chosen]
        _plot_row(part, title, images[chosen], np.asarray(result.probs)[chosen], entropy[chosen], true)
    _add_key(parts[0], has_labels=labels is not None)
    if unseen is not None:
        others, entropy = _checked_images("unseen", *unseen)
        probs = np.asarray(unseen[1].probs)
        _plot_row(parts[-1], "Never seen in training", others[:count], probs[:count], entropy[:count], None)
    return figure


def _checked_images(name: str, images: Any, result: UQResult) -> tuple[np.ndarray, np.ndarray]:
    """Return the images [n, height, width] and their entropies [n]."""
    images = np.asarray(images)
    if result.probs is None or result.predictive_entropy is None:
        raise ValueError("Expected a classification result (probs, predictive_entropy); got another kind of result.")
    if images.ndim != 3 or len(images) != len(result.probs):
        shape = f"[{len(result.probs)}, height, width] to match result"
        raise ValueError(f"Expected {name} of shape {shape}; got {list(images.shape)}.")
    return images, np.asarray(result.predictive_entropy)


def _add_key(part: Any, *, has_labels: bool) -> None:
    """Explain the colours and numbers beside the first row's title."""
    from matplotlib.patches import Patch

    handles = [Patch(color=BLUE, label="predicted class")]
    if has_labels:
        handles.append(Patch(color=ORANGE, label="true class, where missed"))
    handles.append(Patch(alpha=0, label="number: predictive entropy"))
    part.legend(
        handles=handles[::-1],
        loc="upper right",
        ncols=3,
        frameon=False,
        fontsize=SMALL,
        handlelength=0.9,
        handletextpad=0.5,
        borderaxespad=0.0,
        columnspacing=1.5,
    )


def _plot_row(part: Any, title: str, images: Any, probs: Any, entropy: Any, labels: Any) -> None:
    """Plot a row of images above their bars."""
    part.suptitle(title, x=0.02, ha="left", fontsize=11, fontweight="bold", color=INK)
    axes = part.subplots(2, len(images), squeeze=False, height_ratios=[1.5, 1], gridspec_kw={"hspace": 0.02})
    for i, image in enumerate(images):
        top, bottom = axes[:, i]
        top.imshow(image, cmap="gray_r", interpolation="nearest")
        top.set(xticks=[], yticks=[])
        top.spines[:].set_color(PALE)
        top.set_title(f"{entropy[i]:.2f} nats", fontsize=SMALL, color=INK, pad=3)
        _plot_bars(bottom, probs[i], None if labels is None else int(labels[i]), is_first=i == 0)


def _plot_bars(ax: Axes, probs: np.ndarray, label: int | None, *, is_first: bool) -> None:
    """Plot class probabilities as bars.

    The predicted class is blue, and the true class is orange if it was missed.
    """
    predicted = int(probs.argmax())
    colours = [GREY] * len(probs)
    colours[predicted] = BLUE
    if label is not None and label != predicted:
        colours[label] = ORANGE
    ax.bar(range(len(probs)), probs, color=colours, width=0.8)
    edge = 0.9  # Room at both sides keeps the bars of neighbouring images apart.
    ax.set(ylim=(0, 1), xlim=(-edge, len(probs) - 1 + edge), xticks=range(len(probs)), yticks=[0, 1])
    ax.tick_params(length=0, labelsize=7, colors=INK, pad=2, labelleft=is_first)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color(GREY)
