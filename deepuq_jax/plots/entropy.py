"""Plot the uncertainty of familiar and unfamiliar inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deepuq_jax._checks import check_count, expected
from deepuq_jax.metrics.predictions import uncertainty
from deepuq_jax.metrics.ranking import ood_auroc
from deepuq_jax.plots.style import BLUE, INK, VERMILION, check_text, new_axes, percent, put_legend_above, tidy
from deepuq_jax.types import UQResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_entropy(
    seen: Any,
    unseen: Any,
    *,
    labels: tuple[str, str] = ("Like the training data", "Unlike the training data"),
    bins: int = 30,
    ax: Axes | None = None,
) -> Axes:
    """Plot histograms of the predictive entropy on familiar and unfamiliar inputs.

    In regression the score is the epistemic variance. The AUROC is the area under the ROC curve for telling the two
    groups apart by the score. In classification, a dotted line marks the entropy of equal class probabilities, which is
    the largest possible entropy.

    Args:
        seen: `UQResult` of inputs like the training data, or uncertainties [batch].
        unseen: the same for other inputs.
        labels: names of the two groups; the AUROC is added to the second name.
        bins: number of bins, which both histograms share.
        ax: axes to draw on; default: the axes of a new figure.
    Returns:
        The axes, with the share of the examples per bin.
    Raises:
        ValueError, TypeError: the scores are not finite or have the wrong shape, or a result holds no score.
        ImportError: matplotlib is not installed.

    >>> ax = plot_entropy(np.array([0.1, 0.2]), np.array([0.15, 0.6]), bins=2)
    >>> ax.get_legend().get_texts()[1].get_text(), ax.get_xlabel()
    ('Unlike the training data, AUROC 0.750', 'Uncertainty')
    """
    bins = check_count("bins", bins)
    groups = [np.asarray(uncertainty(one, name)) for name, one in (("seen", seen), ("unseen", unseen))]
    for name, scores in zip(("seen", "unseen"), groups, strict=True):
        if not len(scores) or not np.isfinite(scores).all():
            raise ValueError(expected(name, "to hold finite scores", "none, or NaN or infinity among them"))
    names = _checked_labels(labels)
    names[1] += f", AUROC {float(ood_auroc(*groups)):.3f}"
    largest = _largest(seen)
    ax = new_axes((6, 4)) if ax is None else ax
    edges = np.histogram_bin_edges(np.concatenate(groups), bins, None if largest is None else (0.0, largest))
    for scores, label, color in zip(groups, names, (BLUE, VERMILION), strict=True):
        share = np.histogram(np.clip(scores, edges[0], edges[-1]), edges)[0] / len(scores)
        ax.stairs(share, edges, fill=True, color=color, alpha=0.35)
        ax.stairs(share, edges, color=color, lw=1.6, label=label)
    if largest is not None:
        ax.axvline(largest, color=INK, lw=1, ls=":", label="Equal probabilities")
    percent(ax.yaxis)
    tidy(ax, _name(seen), "Share of the examples")
    put_legend_above(ax)
    return ax


def _checked_labels(labels: Any) -> list[str]:
    if isinstance(labels, str) or len(labels) != 2:
        raise ValueError(expected("labels", "to be two strings", f"{labels!r}"))
    return [check_text(f"labels[{i}]", label) for i, label in enumerate(labels)]


def _largest(result: Any) -> float | None:
    """Return the entropy of equal probabilities, nats, in classification."""
    if isinstance(result, UQResult) and result.probs is not None:
        return float(np.log(result.probs.shape[-1]))
    return None


def _name(result: Any) -> str:
    if not isinstance(result, UQResult):
        return "Uncertainty"
    return "Epistemic variance" if result.probs is None else "Predictive entropy, nats"
