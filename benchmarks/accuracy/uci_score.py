"""Scores of predictive draws, in the target's own units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp, ndtr

LEVELS = (0.5, 0.9, 0.95)


class Draws(NamedTuple):
    """A predictive mixture of Gaussians.

    The means and the variances are arrays [draws, n], in the target's own units.
    """

    mean: np.ndarray
    var: np.ndarray


class Score(NamedTuple):
    """Scores of a split.

    Attributes:
        rmse: root mean squared error of the mean over draws, in the target's units.
        log_likelihood: mean over examples of the log of the mean density over draws, nats.
        coverage: share of the targets inside the mixture's central interval at each of `LEVELS`.
        coverage_gaussian: the same for a Gaussian with the mixture's mean and variance.
    """

    rmse: float
    log_likelihood: float
    coverage: tuple[float, ...]
    coverage_gaussian: tuple[float, ...]


def score(draws: Draws, y: np.ndarray) -> Score:
    """Score draws [draws, n] against targets [n].

    The mixture's central interval holds y if the distribution function F has |F(y) - 1/2| <= level / 2. So the coverage
    is exact, and the quantiles at the ends of the interval need not be computed.
    """
    mean, var = np.asarray(draws.mean, np.float64), np.asarray(draws.var, np.float64)
    density = -0.5 * (np.log(2 * np.pi * var) + (y - mean) ** 2 / var)
    log_likelihood = logsumexp(density, axis=0) - np.log(len(mean))
    total_var = mean.var(axis=0) + var.mean(axis=0)
    mixture = ndtr((y - mean) / np.sqrt(var)).mean(axis=0)
    gaussian = ndtr((y - mean.mean(axis=0)) / np.sqrt(total_var))
    return Score(
        float(np.sqrt(np.mean((mean.mean(axis=0) - y) ** 2))),
        float(log_likelihood.mean()),
        _coverage(mixture),
        _coverage(gaussian),
    )


def _coverage(distribution: np.ndarray) -> tuple[float, ...]:
    return tuple(float(np.mean(np.abs(distribution - 0.5) <= level / 2)) for level in LEVELS)


def summary(scores: list[Score]) -> dict[str, object]:
    """Return the means over splits, and the standard errors of RMSE and log-likelihood."""
    rmse, ll = [s.rmse for s in scores], [s.log_likelihood for s in scores]
    return {
        "splits": len(scores),
        "rmse": float(np.mean(rmse)),
        "rmse_se": standard_error(rmse),
        "log_likelihood": float(np.mean(ll)),
        "log_likelihood_se": standard_error(ll),
        "coverage": np.mean([s.coverage for s in scores], axis=0).tolist(),
        "coverage_gaussian": np.mean([s.coverage_gaussian for s in scores], axis=0).tolist(),
    }


def standard_error(values: Sequence[float] | np.ndarray) -> float:
    """Return the standard error of a mean; a single value has none, which is NaN."""
    if len(values) < 2:
        return float("nan")
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))
