"""Plot images that a classifier is most and least sure of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deepuq_jax._checks import check_count
from deepuq_jax.plots.style import BLUE, GREY, INK, ORANGE, PALE, SMALL, figure_class
from deepuq_jax.types import UQResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_certainty(
    images: Any, result: UQResult, *, labels: Any = None, unseen: tuple[Any, UQResult] | None = None, count: int = 8
) -> Figure:
    """Plot the most and the least certain images.

    Each image stands above its class probabilities. Images are ranked by predictive entropy. With `unseen`, a third
    row shows the first unseen images, in their own order.

    Args:
        images: grey values [batch, height, width].
        result: the result of `predict_vi_uq` at these images, a classification.
        labels: true classes [batch]; if the prediction misses the true class, the bar of the true class is coloured
            too.
        unseen: (images, result) for images that belong to no class.
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
    figure = figure_class()(figsize=(max(1.2 * count, 4.8), height), layout="constrained")
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
