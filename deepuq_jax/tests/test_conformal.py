"""Conformal prediction: coverage over simulated repetitions, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deepuq_jax as dq
from deepuq_jax import conformal
from deepuq_jax.tests.profiles import small_profile

REPETITIONS, N, TESTS, LEVEL = 1000, 39, 20, 0.9


def regression(key, n):
    """Return predictions with a wrong mean and a wrong variance, and targets with heavy tails."""
    mean, spread, noise = jax.random.normal(key, (3, n))
    var = jnp.exp(spread)
    y = 1.0 + 0.5 * mean + jnp.sqrt(1.0 + var) * noise**3
    return (mean, var), y


def absolute(calibration, y, new, key):
    return inside(conformal.split(calibration[0], y).interval(new[0][0], LEVEL), new[1])


def normalized(calibration, y, new, key):
    return inside(conformal.split(calibration, y, normalized=True).interval(new[0], LEVEL), new[1])


def quantiles(calibration, y, new, key):
    before, after = (UQ(pair).interval(0.5) for pair in (calibration, new[0]))
    return inside(conformal.cqr(before, y).interval(after, LEVEL), new[1])


def UQ(pair):
    return dq.UQResult(mean=pair[0], total_var=pair[1])


def inside(bounds, y):
    return (bounds[0] <= y) & (y <= bounds[1])


def classification(key, n):
    """Return overconfident probabilities, and labels that were drawn from less extreme probabilities."""
    logits = jax.random.normal(jax.random.fold_in(key, 0), (n, 6))
    return jax.nn.softmax(4 * logits), jax.random.categorical(jax.random.fold_in(key, 1), logits)


def in_set(sets, y):
    return jnp.take_along_axis(sets, y[:, None], axis=1)[:, 0]


def aps(calibration, y, new, key):
    return in_set(conformal.aps(calibration, y, key=key).sets(new[0], LEVEL, key=key), new[1])


def aps_without_noise(calibration, y, new, key):
    return in_set(conformal.aps(calibration, y).sets(new[0], LEVEL), new[1])


def raps(calibration, y, new, key):
    calibrated = conformal.raps(calibration, y, penalty=0.1, free_classes=2, key=key)
    return in_set(calibrated.sets(new[0], LEVEL, key=key), new[1])


def raps_without_noise(calibration, y, new, key):
    return in_set(conformal.raps(calibration, y, penalty=0.1, free_classes=2).sets(new[0], LEVEL), new[1])


METHODS = [absolute, normalized, quantiles, aps, aps_without_noise, raps, raps_without_noise]
BY_NAME = {method.__name__: method for method in METHODS}


@pytest.mark.parametrize("name", small_profile(BY_NAME, ["absolute", "quantiles", "aps", "raps"]))
def test_a_thousand_repetitions_cover_as_promised(name, key):
    method = BY_NAME[name]
    simulate = regression if method in METHODS[:3] else classification

    @jax.jit
    @jax.vmap
    def covered(key):
        first, second, own = jax.random.split(key, 3)
        return method(*simulate(first, N), simulate(second, TESTS), own)

    found = np.asarray(covered(jax.random.split(key, REPETITIONS))).mean(axis=1)
    # If scores have no ties, the expected coverage is k / (n + 1), where the quantile is the k-th smallest of n scores.
    # Here it is 36 / 40, which is the level.
    error = found.std(ddof=1) / np.sqrt(REPETITIONS)
    assert error < 0.003
    assert found.mean() > LEVEL - 5 * error
    if method is not aps_without_noise:
        assert found.mean() < LEVEL + 5 * error


def test_the_quantile_is_a_rank_without_rounding_errors():
    for n, level, rank in [(9, 0.9, 9), (19, 0.95, 19), (99, 0.9, 90), (999, 0.9, 900), (99, 0.99, 99), (100, 0.07, 8)]:
        scores = np.random.default_rng(0).permutation(n) + 1.0
        assert float(conformal.conformal_quantile(scores, level)) == rank, (n, level)
    two = np.column_stack([np.arange(19.0), -np.arange(19.0)])
    np.testing.assert_array_equal(conformal.conformal_quantile(two, 0.5), [9.0, -9.0])


def test_several_targets_are_calibrated_each_on_its_own():
    rng = np.random.default_rng(0)
    mean, y = np.zeros((50, 2)), rng.normal(size=(50, 2)) * [1.0, 10.0]
    lower, upper = conformal.split(mean, y).interval(np.zeros((3, 2)), 0.9)
    for d in range(2):
        alone = conformal.split(mean[:, d], y[:, d]).interval(np.zeros(3), 0.9)
        np.testing.assert_array_equal((lower[:, d], upper[:, d]), alone)


def test_scores_of_sets_match_a_transcription_of_the_formula(key):
    probs = np.random.default_rng(0).dirichlet(np.full(5, 0.5), 30).astype(np.float32)
    labels, u = np.arange(30) % 5, np.random.default_rng(1).uniform(size=30).astype(np.float32)
    found = conformal.raps(probs, labels, penalty=0.3, free_classes=2, noise=u).scores
    for p, label, noise, score in zip(probs, labels, u, found, strict=True):
        above = p > p[label]
        by_hand = p[above].sum() + (1 - noise) * p[label] + 0.3 * max(0, above.sum() + 1 - 2)
        np.testing.assert_allclose(score, by_hand, rtol=1e-5, atol=1e-6)


def test_every_class_is_in_a_set_at_a_quantile_of_one():
    """The sum of all probabilities has rounding errors, which must not leave out a class."""
    probs = np.full((40, 7), 1 / 7, np.float32)
    calibrated = conformal.aps(probs, np.arange(40) % 7)
    sets = calibrated.sets(np.random.default_rng(0).dirichlet(np.ones(7), 500).astype(np.float32), 0.97)
    assert bool(sets.all())


def test_an_empty_interval_has_its_bounds_crossed():
    y = np.full(19, 5.0)
    lower, upper = conformal.cqr((np.zeros(19), np.full(19, 10.0)), y).interval((np.zeros(1), np.ones(1)), 0.9)
    assert lower > upper


def test_the_same_key_draws_other_numbers_for_calibration_and_prediction():
    probs, keys = np.full((1, 2), 0.5, np.float32), [jax.random.key(i) for i in range(8)]
    # If the numbers were equal, the label would always have its own score, and so be in the set.
    found = [conformal.aps(probs, np.zeros(1, int), key=k).sets(probs, 0.5, key=k)[0, 0] for k in keys]
    assert 0 < sum(map(bool, found)) < len(keys)


def test_results_are_pytrees_and_run_compiled(key):
    pair, y = regression(key, N)
    calibrated = conformal.split(pair, y, normalized=True)
    eager, compiled = calibrated.interval(pair, 0.8), jax.jit(lambda c, p: c.interval(p, 0.8))(calibrated, pair)
    for a, b in zip(eager, compiled, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)


PROBS, LABELS = np.full((20, 2), 0.5, np.float32), np.zeros(20, int)
REFUSALS = {
    "Expected calibration data of at least 9 examples for level 0.9; got 8": lambda key: conformal.conformal_quantile(
        np.arange(8.0), 0.9
    ),
    "Expected calibration data of at least 19 examples for level 0.95; got 10": lambda key: conformal.split(
        np.zeros(10), np.arange(10.0)
    ).interval(np.zeros(3), 0.95),
    "Expected level to be between 0 and 1": lambda key: conformal.conformal_quantile(np.arange(8.0), 1.0),
    "Expected level to be a Python number": lambda key: jax.jit(conformal.conformal_quantile)(np.arange(8.0), 0.5),
    "Expected scores to be without NaN": lambda key: conformal.conformal_quantile(np.array([0.0, np.nan]), 0.5),
    "Expected prediction and y to be without NaN": lambda key: conformal.split(np.zeros(2), np.array([0.0, np.nan])),
    "Expected scores to hold at least one example": lambda key: conformal.conformal_quantile(np.zeros(0)),
    "Expected y of the shape of the mean": lambda key: conformal.split(np.zeros((3, 1)), np.zeros(3)),
    "Expected prediction to have a variance": lambda key: conformal.split(np.zeros(3), np.zeros(3), normalized=True),
    "Expected the variance of prediction to be positive": lambda key: conformal.split(
        (np.zeros(3), np.zeros(3)), np.zeros(3), normalized=True
    ),
    "Expected the variance of prediction of the shape": lambda key: conformal.split(
        (np.zeros(3), np.ones((3, 1))), np.zeros(3), normalized=True
    ),
    "Expected prediction of targets as in calibration, .batch, 2.": lambda key: conformal.split(
        np.zeros((20, 2)), np.zeros((20, 2))
    ).interval(np.zeros((3, 1))),
    "Expected prediction to be a regression": lambda key: conformal.split(dq.UQResult(mean=PROBS, probs=PROBS), LABELS),
    "Expected bounds to be a pair": lambda key: conformal.cqr(np.zeros(3), np.zeros(3)),
    "Expected bounds to have one shape": lambda key: conformal.cqr((np.zeros(3), np.zeros(2)), np.zeros(3)),
    "Expected bounds of targets as in calibration": lambda key: conformal.cqr(
        (np.zeros(20), np.zeros(20)), np.zeros(20)
    ).interval((np.zeros((3, 1)), np.zeros((3, 1)))),
    "Expected only one of key and noise": lambda key: conformal.aps(PROBS, LABELS, key=key, noise=np.zeros(20)),
    "Expected noise to have shape .20.": lambda key: conformal.aps(PROBS, LABELS, noise=np.zeros(3)),
    "Expected noise to be from 0 to 1": lambda key: conformal.aps(PROBS, LABELS, noise=np.full(20, 2.0)),
    "Expected key or noise for sets whose calibration was": lambda key: conformal.aps(PROBS, LABELS, key=key).sets(
        PROBS
    ),
    "Expected key or noise to be None, as in": lambda key: conformal.aps(PROBS, LABELS).sets(PROBS, key=key),
    "Expected penalty to be at least 0": lambda key: conformal.raps(PROBS, LABELS, penalty=-1.0, free_classes=1),
    "Expected free_classes to be a positive int": lambda key: conformal.raps(
        PROBS, LABELS, penalty=1.0, free_classes=0
    ),
    "Expected y to be labels from 0 to 1": lambda key: conformal.aps(PROBS, LABELS + 2),
}


@pytest.mark.parametrize("message", REFUSALS)
def test_bad_input_is_refused(message, key):
    with pytest.raises((ValueError, TypeError), match=message):
        REFUSALS[message](key)
