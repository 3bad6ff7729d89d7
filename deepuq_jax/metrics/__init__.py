"""Metrics of predictions and their uncertainties.

They are pure JAX functions of a `UQResult` or of plain arrays, and work under jit, grad and vmap (over seeds, splits or
levels). They need no other library.
"""

from deepuq_jax.metrics.calibration import Reliability, expected_calibration_error, reliability
from deepuq_jax.metrics.intervals import interval_coverage, interval_width
from deepuq_jax.metrics.ranking import RiskCoverage, auroc, error_auroc, ood_auroc, risk_coverage
from deepuq_jax.metrics.scores import brier_score, crps, crps_from_draws, negative_log_likelihood

__all__ = [
    "Reliability",
    "RiskCoverage",
    "auroc",
    "brier_score",
    "crps",
    "crps_from_draws",
    "error_auroc",
    "expected_calibration_error",
    "interval_coverage",
    "interval_width",
    "negative_log_likelihood",
    "ood_auroc",
    "reliability",
    "risk_coverage",
]
