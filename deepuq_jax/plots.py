"""Pictures of predictions: curves with their bands, images with their class probabilities.

Matplotlib is imported when a plot is made, never before; figures are made without pyplot, so that nothing global is
changed and no display is needed. Save one with ``axes.figure.savefig(...)`` or ``figure.savefig(...)``.
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

# Okabe & Ito's palette, told apart by colour-blind readers too.
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
    """[n] or [n, 1] as [n]."""
    values = np.asarray(values)
    flat = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    if flat.ndim != 1 or (size is not None and len(flat) != size):
        shape = "[n] or [n, 1]" if size is None else f"[{size}] or [{size}, 1]"
        raise ValueError(f"Expected {name} of shape {shape}; got {list(values.shape)}.")
    return flat


def plot_regression(
    x: Any, result: UQResult, *, data: Any = None, truth: Any = None, level: float = 0.95, ax: Axes | None = None
) -> Axes:
    """Predictive mean of one input with its epistemic band and its total band.

    The bands are central intervals of Gaussians, mean -+ z sqrt(var): the inner one with the epistemic variance, the
    outer one `result.interval(level)`. Where there is no aleatoric variance there is no outer band.

    Args:
        x: inputs [n] or [n, 1], in any order.
        result: of `predict_vi_uq` at `x`, a regression with one output.
        data: (x, y) of the observations, each [m] or [m, 1].
        truth: the function without noise at `x`, [n] or [n, 1].
        level: probability inside each band.
        ax: axes to draw on; default those of a new figure.
    Returns:
        The axes.
    Raises:
        ValueError: other shapes, a result without an epistemic variance, a level outside (0, 1).
        ImportError: no matplotlib.

    >>> import jax.numpy as jnp
    >>> result = UQResult(mean=jnp.zeros(3), epistemic_var=jnp.ones(3))
    >>> [line.get_label() for line in plot_regression(np.arange(3), result).get_lines()]
    ['Mean']
    """
    if result.epistemic_var is None or result.probs is not None:
        raise ValueError("Expected a regression result with an epistemic_var; got a result without one.")
    x = _column("x", x)
    order = np.argsort(x)
    column = lambda name, values: _column(name, values, len(x))[order]
    mean = column("result.mean", result.mean)
    inner = UQResult(mean=result.mean, total_var=result.epistemic_var).interval(level)
    ax = _figure_class()(figsize=(8, 4.6), layout="constrained").add_subplot() if ax is None else ax
    percent = f", {100 * level:g} %"
    if result.aleatoric_var is not None:
        total = [column("result.total_var", bound) for bound in result.interval(level)]
        ax.fill_between(x[order], total[0], total[1], color=SKY, alpha=0.3, lw=0, label="Total" + percent, zorder=1)
    epistemic = [column("result.epistemic_var", bound) for bound in inner]
    ax.fill_between(
        x[order],
        epistemic[0],
        epistemic[1],
        color=BLUE,
        alpha=0.35,
        lw=0,
        label="Epistemic" + percent,
        zorder=2,
    )
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
    """A frame on two sides, a legend without one."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.set(xlabel="x", ylabel="y")
    ax.margins(x=0)
    ax.legend(frameon=False, loc="best")


def plot_certainty(
    images: Any, result: UQResult, *, labels: Any = None, unseen: tuple[Any, UQResult] | None = None, count: int = 8
) -> Figure:
    """The most and the least certain images of a batch, each over its class probabilities.

    Certainty is by predictive entropy. With `unseen`, a third row has the first images of those, whatever they are.

    Args:
        images: [batch, height, width], grey values.
        result: of `predict_vi_uq` at these images, a classification.
        labels: true classes [batch]; where the prediction is another, both bars are coloured.
        unseen: (images, result) of things that no class is meant for.
        count: images a row.
    Returns:
        The figure, one row of images for each group.
    Raises:
        ValueError: a result without probabilities, or another number of images. ImportError: no matplotlib.

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
    """Images as [n, height, width], and the entropies [n] of the result."""
    images = np.asarray(images)
    if result.probs is None or result.predictive_entropy is None:
        raise ValueError("Expected a classification result, with probs and a predictive_entropy; got another.")
    if images.ndim != 3 or len(images) != len(result.probs):
        shape = f"[{len(result.probs)}, height, width], as result has"
        raise ValueError(f"Expected {name} of shape {shape}; got {list(images.shape)}.")
    return images, np.asarray(result.predictive_entropy)


def _add_key(part: Any, *, has_labels: bool) -> None:
    """What the colours and the numbers mean, beside the title of the first row."""
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
    """One row of a figure: images above, bars below."""
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
    """Class probabilities as bars: the predicted class blue, a true class that it is not orange."""
    predicted = int(probs.argmax())
    colours = [GREY] * len(probs)
    colours[predicted] = BLUE
    if label is not None and label != predicted:
        colours[label] = ORANGE
    ax.bar(range(len(probs)), probs, color=colours, width=0.8)
    edge = 0.9  # Room at both sides, so that the bars of neighbours keep apart.
    ax.set(ylim=(0, 1), xlim=(-edge, len(probs) - 1 + edge), xticks=range(len(probs)), yticks=[0, 1])
    ax.tick_params(length=0, labelsize=7, colors=INK, pad=2, labelleft=is_first)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color(GREY)
