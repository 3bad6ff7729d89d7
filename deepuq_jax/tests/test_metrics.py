"""Metrics against scoringrules, scikit-learn and SciPy, on hard cases by hand, and under transformations."""

from functools import partial
from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scoringrules
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from sklearn import calibration
from sklearn import metrics as sk

import deepuq_jax as dq
from deepuq_jax.tests import tolerances

TOLERANCE = tolerances.METRICS


class Compiled:
    """The metrics under jit, one program per metric; the doctests run them without jit."""

    def __getattr__(self, name):
        return lambda *args, **options: jax.jit(partial(getattr(dq.metrics, name), **options))(*args)


compiled = Compiled()


def classes(n=300, k=4, seed=0):
    """Return probabilities that are partly right, with labels drawn from a blunter version of them."""
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(k, 0.4), n)
    blunt = 0.7 * probs + 0.3 / k
    return jnp.asarray(probs), jnp.asarray((rng.uniform(size=(n, 1)) > blunt.cumsum(1)).sum(1), jnp.int32)


def regression(n=200, d=2, seed=0):
    rng = np.random.default_rng(seed)
    mean, var, y = rng.normal(size=(n, d)), rng.gamma(2.0, size=(n, d)), 2 * rng.normal(size=(n, d))
    return jnp.asarray(mean), jnp.asarray(var), jnp.asarray(y)


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=TOLERANCE, atol=TOLERANCE)


# -------------------------------------------------------------------------------------------------------------- scores


def test_classification_scores_are_those_of_scikit_learn(x64):
    probs, y = classes()
    labels = list(range(4))
    close(compiled.negative_log_likelihood(probs, y).mean(), sk.log_loss(y, probs, labels=labels))
    of_labels = [sk.brier_score_loss(y == label, probs[:, label]) for label in labels]
    close(compiled.brier_score(probs, y).mean(), sum(of_labels))
    assert compiled.brier_score(probs, y).shape == compiled.negative_log_likelihood(probs, y).shape == (300,)


def test_regression_scores_are_those_of_scipy_and_scoringrules(x64):
    mean, var, y = regression()
    close(compiled.negative_log_likelihood((mean, var), y), -stats.norm(mean, np.sqrt(var)).logpdf(y).sum(1))
    want = scoringrules.crps_normal(np.asarray(y), np.asarray(mean), np.sqrt(var))
    close(compiled.crps((mean, var), y), want)


@pytest.mark.parametrize(("y", "var"), [(0.3, 1.0), (-4.0, 0.25), (30.0, 2.0)])
def test_crps_is_the_integral_that_defines_it(y, var, x64):
    def squared_gap(t):
        return (stats.norm(0, np.sqrt(var)).cdf(t) - (t >= y)) ** 2

    below = integrate.quad(squared_gap, -40, y, points=[0], limit=500)[0]
    want = below + integrate.quad(squared_gap, y, 60, limit=500)[0]
    close(compiled.crps((jnp.zeros(1), jnp.full(1, var)), jnp.full(1, y))[0], want)


def test_crps_of_a_point_is_the_distance_and_its_gradient_is_finite():
    mean, y = jnp.zeros(2), jnp.array([1.5, -0.5])
    np.testing.assert_allclose(compiled.crps((mean, jnp.zeros(2)), y), [1.5, 0.5])

    def loss(mean, var):
        return compiled.crps((mean, var), y).sum()

    grads = jax.grad(loss, argnums=(0, 1))(mean, jnp.zeros(2))
    assert all(np.isfinite(g).all() for g in grads)
    np.testing.assert_allclose(grads[0], [-1, 1])


@pytest.mark.parametrize(("fair", "estimator"), [(False, "nrg"), (True, "fair")])
def test_crps_of_draws_is_the_energy_form_of_scoringrules(fair, estimator, x64):
    rng = np.random.default_rng(0)
    draws, y = rng.normal(size=(31, 5, 3)), rng.normal(size=(5, 3))
    draws[3] = draws[4]  # Two draws are tied.
    want = scoringrules.crps_ensemble(y, draws, m_axis=0, estimator=estimator)
    close(compiled.crps_from_draws(jnp.asarray(draws), jnp.asarray(y), fair=fair), want)


def test_crps_of_draws_keeps_a_small_spread_far_from_zero():
    rng = np.random.default_rng(0)
    draws, y = (1000 + 0.01 * rng.normal(size=400)).astype(np.float32), np.float32(1000.005)
    want = scoringrules.crps_ensemble(np.float64(y), draws.astype(np.float64), estimator="nrg")
    np.testing.assert_allclose(compiled.crps_from_draws(draws, y), want, rtol=1e-5)


def test_fair_crps_of_gaussian_draws_is_the_closed_form_on_average(key):
    draws = jax.random.normal(key, (5, 20_000))
    y = jnp.full(20_000, 0.7)
    scores = np.asarray(compiled.crps_from_draws(draws, y, fair=True))
    exact = float(compiled.crps((jnp.zeros(()), jnp.ones(())), jnp.asarray(0.7)))
    assert abs(scores.mean() - exact) < tolerances.STANDARD_ERRORS * scores.std() / np.sqrt(scores.size)
    # Without the correction, five draws are off by E|X - X'| / (2 S), which is far more.
    assert compiled.crps_from_draws(draws, y).mean() - exact > 0.1


def test_a_result_scores_as_its_arrays():
    probs, y = classes(6, 3)
    result = dq.UQResult(mean=probs, probs=probs)
    for metric in (compiled.negative_log_likelihood, compiled.brier_score, compiled.error_auroc):
        np.testing.assert_array_equal(metric(result, y), metric(probs, y))
    seen = stats.entropy(probs, axis=1)
    unseen = 1.2 * seen  # No two of the values are equal, so rounding decides no comparison.
    close(compiled.ood_auroc(result, unseen), (unseen[None, :] > seen[:, None]).mean())
    mean, var, y = regression(6)
    result = dq.UQResult(mean=mean, epistemic_var=0.5 * var, total_var=var)
    for metric in (compiled.negative_log_likelihood, compiled.crps, compiled.interval_coverage):
        np.testing.assert_array_equal(metric(result, y), metric((mean, var), y))
    close(compiled.ood_auroc(result, jnp.flip(0.5 * var.sum(axis=1))), 0.5)


# --------------------------------------------------------------------------------------------------------- calibration


@pytest.mark.parametrize(("binning", "strategy"), [("width", "uniform"), ("mass", "quantile")])
def test_reliability_is_the_calibration_curve_of_scikit_learn(binning, strategy, x64):
    bins, (probs, y) = 15, classes()
    confidence, is_right = np.asarray(probs.max(1)), np.asarray(probs.argmax(1) == y)
    want = calibration.calibration_curve(is_right, confidence, n_bins=bins, strategy=strategy)
    data = compiled.reliability(probs, y, bins=bins, binning=binning)
    filled = np.asarray(data.count) > 0
    close(data.accuracy[filled], want[0])
    close(data.confidence[filled], want[1])
    assert np.isnan(data.accuracy[~filled]).all()
    assert int(data.count.sum()) == len(y)
    share = np.asarray(data.count)[filled] / len(y)
    ece = compiled.expected_calibration_error(probs, y, bins=bins, binning=binning)
    close(ece, (share * np.abs(want[0] - want[1])).sum())


def test_ece_against_a_plain_loop():
    probs, y = classes(400, 5)
    expected, confidence = 0.0, np.asarray(probs.max(1))
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            accuracy = np.asarray(probs.argmax(1) == y)[inside].mean()
            expected += inside.mean() * abs(accuracy - confidence[inside].mean())
    close(compiled.expected_calibration_error(probs, y), expected)


def test_ece_by_hand():
    # In the bin (0.4, 0.6] one of two is right, and the gap is |0.5 - 0.6|. In (0.8, 1] both are right: |1 - 0.95|.
    probs = jnp.array([[0.6, 0.4], [0.6, 0.4], [0.1, 0.9], [0.0, 1.0]])
    ece = compiled.expected_calibration_error(probs, jnp.array([1, 0, 1, 1]), bins=5)
    close(ece, 0.5 * 0.1 + 0.5 * 0.05)
    labels, ece = jnp.array([0, 1, 0, 1]), compiled.expected_calibration_error
    assert ece(jnp.eye(2)[labels], labels) == 0
    assert ece(jnp.full((4, 2), 0.5), labels) == 0
    assert ece(jnp.eye(2)[1 - labels], labels) == 1


def test_equal_mass_bins_have_equal_counts_and_keep_equal_confidences_together():
    probs, y = classes(300)
    counts = compiled.reliability(probs, y, bins=10, binning="mass").count
    assert counts.max() - counts.min() <= 1
    same = jnp.tile(jnp.array([[0.8, 0.2]]), (9, 1))
    assert sorted(compiled.reliability(same, jnp.zeros(9, int), bins=3, binning="mass").count.tolist()) == [0, 0, 9]


# ----------------------------------------------------------------------------------------------------------- intervals


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
def test_coverage_and_width_are_those_of_scipys_interval(level, x64):
    mean, var, y = regression()
    low, high = stats.norm.interval(level, np.asarray(mean), np.sqrt(var))
    close(compiled.interval_coverage((mean, var), y, level=level), ((low <= y) & (y <= high)).mean())
    close(compiled.interval_width((mean, var), level=level), (high - low).mean())


def test_coverage_of_a_true_model_is_its_level():
    n, rng = 40_000, np.random.default_rng(0)
    var = rng.gamma(2.0, size=n)
    y = jnp.asarray(rng.normal(size=n) * np.sqrt(var))
    for level in (0.5, 0.9, 0.95):
        coverage = float(compiled.interval_coverage((jnp.zeros(n), jnp.asarray(var)), y, level=level))
        assert abs(coverage - level) < tolerances.STANDARD_ERRORS * np.sqrt(level * (1 - level) / n)
    levels = jnp.array([0.5, 0.95])
    coverages = jax.vmap(lambda p: compiled.interval_coverage((jnp.zeros(n), jnp.asarray(var)), y, level=p))(levels)
    assert abs(float(coverages[1]) - 0.95) < 0.01 < coverages[1] - coverages[0]


# ------------------------------------------------------------------------------------------------------------- ranking


auroc = jax.jit(dq.metrics.auroc)  # It is compiled once for all examples.


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=12))
def test_auroc_is_that_of_scikit_learn_with_ties(rows):
    scores, is_positive = (np.array(column) for column in zip(*rows, strict=True))
    padded = np.concatenate([scores, [3] * (14 - len(scores))]).astype(
        np.float32
    )  # A single shape needs a single compilation.
    is_positive = np.concatenate([is_positive, [True, False] * 7])[:14].astype(bool)
    got = float(auroc(padded, is_positive))
    if is_positive.all() or not is_positive.any():
        assert np.isnan(got)
    else:
        close(got, sk.roc_auc_score(is_positive, padded))


def test_auroc_of_many_scores_in_float32():
    rng = np.random.default_rng(0)
    seen, unseen = rng.normal(size=7000).round(2), rng.normal(0.4, 1.0, 3000).round(2)
    want = sk.roc_auc_score(np.repeat([0, 1], [7000, 3000]), np.concatenate([seen, unseen]))
    close(compiled.ood_auroc(jnp.asarray(seen), jnp.asarray(unseen)), want)


def test_error_auroc_is_that_of_the_entropy(x64):
    probs, y = classes()
    is_wrong = np.asarray(probs.argmax(1) != y)
    close(compiled.error_auroc(probs, y), sk.roc_auc_score(is_wrong, stats.entropy(probs, axis=1)))
    confidence = -probs.max(1)
    close(compiled.error_auroc(probs, y, scores=confidence), sk.roc_auc_score(is_wrong, confidence))


def test_risk_at_every_coverage_against_a_plain_loop(x64):
    rng = np.random.default_rng(0)
    scores, losses = rng.normal(size=50), rng.uniform(size=50)
    curve = compiled.risk_coverage(jnp.asarray(scores), jnp.asarray(losses))
    want = [losses[np.argsort(scores)[:k]].mean() for k in range(1, 51)]
    close(curve.risk, want)
    close(curve.coverage, np.arange(1, 51) / 50)
    close(curve.area, np.mean(want))


def test_risk_with_ties_is_the_mean_over_their_orders(x64):
    scores, losses = np.array([1.0, 0.0, 1.0, 1.0, 2.0]), np.array([1.0, 0.0, 0.0, 0.5, 1.0])
    orders = [order for order in permutations(range(5)) if (np.diff(scores[list(order)]) >= 0).all()]
    assert len(orders) == 6
    want = np.mean([losses[list(order)].cumsum() / np.arange(1, 6) for order in orders], axis=0)
    close(compiled.risk_coverage(jnp.asarray(scores), jnp.asarray(losses)).risk, want)


def test_a_perfect_order_has_the_least_area_and_no_order_the_mean_risk():
    is_wrong = jnp.array([False, True, False, False])

    def area(scores):
        return float(compiled.risk_coverage(jnp.asarray(scores), is_wrong).area)

    assert area([0.1, 0.9, 0.2, 0.3]) == pytest.approx(0.25 / 4)
    assert area([0.5] * 4) == pytest.approx(0.25)
    assert area([0.9, 0.1, 0.9, 0.9]) > 0.25


# ----------------------------------------------------------------------------------------------------- transformations


@pytest.mark.slow
def test_metrics_run_under_jit_and_over_seeds():
    stack = [classes(40, 3, seed) for seed in range(3)]
    probs, y = (np.stack(part) for part in zip(*stack, strict=True))

    def every(probs, y):
        m = dq.metrics
        scores = [m.negative_log_likelihood(probs, y), m.brier_score(probs, y)]
        return (
            scores,
            m.reliability(probs, y, binning="mass"),
            m.error_auroc(probs, y),
            m.risk_coverage(-probs[:, 0], y),
        )

    over_seeds = jax.jit(jax.vmap(every))(probs, y)
    pairs = zip(jax.tree.leaves(jax.jit(every)(probs[1], y[1])), jax.tree.leaves(over_seeds), strict=True)
    for one, many in pairs:
        np.testing.assert_allclose(many[1], one, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda m: m.brier_score(jnp.ones((3, 2)) / 2, jnp.zeros((3, 1), int)), ValueError),
        (lambda m: m.brier_score(jnp.ones((3, 2)) / 2, jnp.zeros(3)), TypeError),
        (lambda m: m.brier_score(jnp.ones((3, 2)) / 2, jnp.array([0, 1, 2])), ValueError),
        (lambda m: m.brier_score(jnp.ones(3), jnp.zeros(3, int)), ValueError),
        (lambda m: m.brier_score(0.5, jnp.zeros(3, int)), TypeError),
        (lambda m: m.brier_score(dq.UQResult(mean=jnp.ones((3, 1))), jnp.zeros(3, int)), ValueError),
        (lambda m: m.crps((jnp.zeros((3, 1)), jnp.ones((3, 1))), jnp.zeros(3)), ValueError),
        (lambda m: m.crps((jnp.zeros((3, 1)), jnp.ones(3)), jnp.zeros((3, 1))), ValueError),
        (lambda m: m.crps(jnp.zeros(3), jnp.zeros(3)), TypeError),
        (lambda m: m.crps(dq.UQResult(mean=jnp.ones(3)), jnp.zeros(3)), ValueError),
        (lambda m: m.crps_from_draws(jnp.zeros((5, 3)), jnp.zeros((3, 1))), ValueError),
        (lambda m: m.crps_from_draws(jnp.zeros((1, 3)), jnp.zeros(3), fair=True), ValueError),
        (lambda m: m.reliability(jnp.ones((3, 2)) / 2, jnp.zeros(3, int), bins=0), ValueError),
        (lambda m: m.reliability(jnp.ones((3, 2)) / 2, jnp.zeros(3, int), binning="equal"), ValueError),
        (lambda m: m.interval_coverage((jnp.zeros(3), jnp.ones(3)), jnp.zeros(3), level=1.0), ValueError),
        (lambda m: m.auroc(jnp.zeros(3), jnp.zeros(3)), TypeError),
        (lambda m: m.auroc(jnp.zeros(3), jnp.zeros(2, bool)), ValueError),
        (lambda m: m.auroc(jnp.zeros((3, 1)), jnp.zeros(3, bool)), ValueError),
        (lambda m: m.ood_auroc(dq.UQResult(mean=jnp.ones(3)), jnp.zeros(3)), ValueError),
        (lambda m: m.risk_coverage(jnp.zeros(3), jnp.zeros((3, 1))), ValueError),
    ],
)
def test_bad_arguments_are_refused(call, error):
    with pytest.raises(error, match="Expected"):
        call(dq.metrics)
