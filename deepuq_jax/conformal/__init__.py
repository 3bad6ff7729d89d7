"""Conformal prediction: intervals and sets with guaranteed coverage.

A prediction for calibration data, which were not used in training, turns other predictions into intervals or sets. If
the calibration and the new examples are exchangeable, these contain the target with at least the chosen probability,
however wrong the model is. The probability is over both: it holds on average over calibration sets and inputs, not for
each input.

Source: Vovk, Gammerman & Shafer 2005, Algorithmic Learning in a Random World; Angelopoulos & Bates 2021,
arXiv 2107.07511.
"""

from deepuq_jax.conformal.classes import PredictionSets, aps, raps
from deepuq_jax.conformal.cqr import QuantileIntervals, cqr
from deepuq_jax.conformal.quantile import conformal_quantile
from deepuq_jax.conformal.split import SplitIntervals, split

__all__ = [
    "PredictionSets",
    "QuantileIntervals",
    "SplitIntervals",
    "aps",
    "conformal_quantile",
    "cqr",
    "raps",
    "split",
]
