"""What the table shows: accuracy, NLL, calibration, and how well entropy tells the unseen from the seen."""

from __future__ import annotations

import jax
import numpy as np

from deepuq_jax.demo.digits import SEEN, Predictions

ECE_BINS = 15


def expected_calibration_error(probs: np.ndarray, labels: np.ndarray, bins: int = ECE_BINS) -> float:
    """Mean gap between confidence and accuracy over bins of confidence, weighted by their counts.

    sum_b n_b / n |accuracy_b - confidence_b|, confidence being the highest probability; bins of equal width.

    Args:
        probs: [batch, classes]. labels: integers [batch]. bins: their number.
    Source: Guo et al. 2017, arXiv 1706.04599.

    >>> round(expected_calibration_error(np.array([[0.9, 0.1], [0.3, 0.7]]), np.array([0, 0])), 3)  # (0.1 + 0.7) / 2
    0.4
    """
    confidence = probs.max(axis=1)
    gap = (probs.argmax(axis=1) == labels) - confidence
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return float(np.abs(np.bincount(bin_of, weights=gap, minlength=bins)).sum() / len(labels))


def measure(predictions: Predictions, labels: np.ndarray, classes: int = SEEN) -> dict[str, np.ndarray]:
    """The rows of the table, each [seeds]."""
    from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

    def auroc(seen: np.ndarray, other: np.ndarray) -> float:
        return float(roc_auc_score(np.repeat([0, 1], [len(seen), len(other)]), np.concatenate([seen, other])))

    rows: dict[str, list[float]] = {}
    test, unseen, noise = (jax.tree.map(np.asarray, part) for part in predictions)
    for seed, probs in enumerate(test.probs.astype(np.float64)):
        probs = probs / probs.sum(axis=1, keepdims=True)  # They sum to 1 in float32 only.
        values = {
            "Accuracy, %": 100 * accuracy_score(labels, probs.argmax(axis=1)),
            "NLL, nats": log_loss(labels, probs, labels=range(classes)),
            f"ECE ({ECE_BINS} bins), %": 100 * expected_calibration_error(probs, labels),
            "AUROC, digits 8 and 9": auroc(test.predictive_entropy[seed], unseen.predictive_entropy[seed]),
            "AUROC, pixel noise": auroc(test.predictive_entropy[seed], noise.predictive_entropy[seed]),
        }
        for name, value in values.items():
            rows.setdefault(name, []).append(float(value))
    return {name: np.array(column) for name, column in rows.items()}


def format_table(columns: dict[str, dict[str, np.ndarray]]) -> str:
    """One table as text: {column: {row: values [seeds]}}, each cell their mean and standard deviation."""

    def cell(values: np.ndarray) -> str:
        spread = np.std(values, ddof=1) if len(values) > 1 else 0.0
        digits = 2 if values.mean() >= 1 else 4
        return f"{values.mean():.{digits}f} ± {spread:.{digits}f}"

    names = list(columns)
    lines = [f"{'':24}" + "".join(f"{name:>20}" for name in names)]
    lines += [f"{row:24}" + "".join(f"{cell(columns[name][row]):>20}" for name in names) for row in columns[names[0]]]
    return "\n".join(lines)
