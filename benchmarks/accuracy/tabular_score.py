"""Scores of a split, and their means over splits."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.accuracy import uci_score
from benchmarks.accuracy.uci_score import Draws
from deepuq_jax.metrics import expected_calibration_error

# Some methods give a class the probability 0. For the NLL, all probabilities are raised to at least this value, so that
# it is finite.
LEAST_PROBABILITY = 1e-12
BINS = 15

CLASSIFICATION_METRICS = ("nll", "accuracy", "ece")
REGRESSION_METRICS = ("nll", "rmse")


def of_probabilities(probs: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Score probabilities [n, classes] against labels [n].

    Returns:
        "nll" in nats, "accuracy" in %, and "ece" in % (15 bins).

    >>> of_probabilities(np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([0, 0]))
    {'nll': 0.346..., 'accuracy': 100.0, 'ece': 25.0}
    """
    # Rounding takes the probabilities of some methods of scikit-learn out of [0, 1].
    probs = np.clip(np.asarray(probs, np.float64), 0.0, 1.0)
    likelihood = np.maximum(probs[np.arange(len(y)), y], LEAST_PROBABILITY)
    return {
        "nll": float(-np.log(likelihood).mean()),
        "accuracy": 100 * float(np.mean(probs.argmax(axis=1) == y)),
        "ece": 100 * float(expected_calibration_error(probs, y, bins=BINS)),
    }


def of_draws(draws: Draws, y: np.ndarray) -> dict[str, Any]:
    """Score predictive draws [draws, n] against targets [n], both in the targets' units.

    Returns:
        "nll" in nats, "rmse", and "coverage" of the mixture's central 50, 90 and 95 % intervals, in %.
    """
    found = uci_score.score(draws, y)
    return {"nll": -found.log_likelihood, "rmse": found.rmse, "coverage": [100 * share for share in found.coverage]}


def over_splits(per_split: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over splits, with standard errors; for a single split, the standard error is None.

    >>> over_splits([{"nll": 1.0}, {"nll": 3.0}])
    {'nll': 2.0, 'nll_se': 1.0, 'per_split': [{'nll': 1.0}, {'nll': 3.0}]}
    """
    found: dict[str, Any] = {}
    for metric, first in per_split[0].items():
        values = np.array([scores[metric] for scores in per_split])
        if isinstance(first, list):
            found[metric] = values.mean(axis=0).tolist()
            continue
        found[metric] = float(values.mean())
        found[f"{metric}_se"] = None
        if len(values) > 1:
            found[f"{metric}_se"] = uci_score.standard_error(values)
    return found | {"per_split": per_split}
