"""The scores in the demo's table.

They are accuracy, NLL, calibration error, and the AUROC of telling seen from unseen images by predictive entropy.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import deepuq_jax as dq
from deepuq_jax.demo.digits import Predictions

ECE_BINS = 15
ROWS = ("Accuracy, %", "NLL, nats", f"ECE ({ECE_BINS} bins), %", "AUROC, digits 8 and 9", "AUROC, pixel noise")


def measure(predictions: Predictions, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the rows of the table, each [seeds]."""

    def of_seed(test: dq.UQResult, unseen: dq.UQResult, noise: dq.UQResult) -> tuple[Array, ...]:
        return (
            100 * jnp.mean(test.mean.argmax(axis=1) == labels),
            dq.metrics.negative_log_likelihood(test, labels).mean(),
            100 * dq.metrics.expected_calibration_error(test, labels, bins=ECE_BINS),
            dq.metrics.ood_auroc(test, unseen),
            dq.metrics.ood_auroc(test, noise),
        )

    columns = jax.jit(jax.vmap(of_seed))(*predictions)
    return {name: np.asarray(column) for name, column in zip(ROWS, columns, strict=True)}


def format_table(columns: dict[str, dict[str, np.ndarray]]) -> str:
    """Format the table as text.

    Args:
        columns: {column: {row: values [seeds]}}. A cell shows the mean and the standard deviation of its values.
    """

    def cell(values: np.ndarray) -> str:
        spread = np.std(values, ddof=1) if len(values) > 1 else 0.0
        digits = 2 if values.mean() >= 1 else 4
        return f"{values.mean():.{digits}f} ± {spread:.{digits}f}"

    names = list(columns)
    lines = [f"{'':24}" + "".join(f"{name:>20}" for name in names)]
    lines += [f"{row:24}" + "".join(f"{cell(columns[name][row]):>20}" for name in names) for row in columns[names[0]]]
    return "\n".join(lines)
