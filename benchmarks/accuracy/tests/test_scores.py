"""Scores against closed forms and independent computations."""

import numpy as np
import pytest
from scipy.stats import norm

from benchmarks.accuracy.uci_score import LEVELS, Draws, Score, score, summary


def test_one_draw_is_a_gaussian():
    rng = np.random.default_rng(0)
    mean, y, std = rng.normal(size=30), rng.normal(size=30), 1.3
    found = score(Draws(mean[None], np.full((1, 30), std**2)), y)
    assert found.rmse == pytest.approx(np.sqrt(np.mean((y - mean) ** 2)))
    assert found.log_likelihood == pytest.approx(norm.logpdf(y, mean, std).mean())
    inside = [np.mean(np.abs(y - mean) <= norm.ppf(0.5 + level / 2) * std) for level in LEVELS]
    assert found.coverage == pytest.approx(inside)
    assert found.coverage_gaussian == pytest.approx(inside)


def test_a_mixture_is_scored_by_its_own_density_and_quantiles():
    rng = np.random.default_rng(1)
    mean, var = rng.normal(size=(7, 1)), rng.uniform(0.1, 2.0, (7, 1))
    y = np.array([0.4])
    found = score(Draws(mean, var), y)
    density = norm.pdf(y, mean, np.sqrt(var)).mean()
    assert found.log_likelihood == pytest.approx(np.log(density))
    samples = (mean + np.sqrt(var) * rng.normal(size=(7, 40_000))).ravel()
    for level, covered in zip(LEVELS, found.coverage, strict=True):
        low, high = np.quantile(samples, [0.5 - level / 2, 0.5 + level / 2])
        assert covered == float(low <= y[0] <= high)


def test_draws_from_the_truth_cover_at_their_level():
    """Check y from N(0, 2^2 + 1) against a mixture of unit Gaussians at quantiles of N(0, 2^2).

    The tolerance is five standard errors of a share among 4,000 targets.
    """
    rng = np.random.default_rng(2)
    quantiles = 2.0 * norm.ppf((np.arange(400) + 0.5) / 400)[:, None]
    y = np.sqrt(5.0) * rng.normal(size=4000)
    found = score(Draws(np.broadcast_to(quantiles, (400, 4000)), np.ones((400, 4000))), y)
    for level, covered in zip(LEVELS, found.coverage, strict=True):
        assert abs(covered - level) < 5 * np.sqrt(level * (1 - level) / 4000)


def test_summary_is_mean_and_standard_error_over_splits():
    rows = [Score(1.0, -2.0, (0.5, 0.9, 0.9), (0.5, 0.9, 0.9)), Score(3.0, -4.0, (0.7, 0.9, 1.0), (0.5, 0.9, 0.9))]
    found = summary(rows)
    assert found["rmse"] == 2.0
    assert found["rmse_se"] == pytest.approx(1.0)  # The standard deviation, sqrt(2), is divided by sqrt(2) splits.
    assert found["log_likelihood"] == -3.0
    assert found["coverage"] == pytest.approx([0.6, 0.9, 0.95])
