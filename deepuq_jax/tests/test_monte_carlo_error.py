"""The Monte Carlo error of the log predictive density: its formulas, repetitions with other keys, and its warnings."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax.diagnostics import FitHealth, LayerHealth
from deepuq_jax.prediction.density_error import _errors

# One number of draws and of examples, so that the tests share compiled programs.
DRAWS, EXAMPLES = 400, 12


def classifier():
    return dq.BayesByBackpropMLP(2, (6,), 3, likelihood=dq.Categorical(), rngs=nnx.Rngs(0), sigma_init=0.3)


def regressor():
    return dq.BayesByBackpropMLP(2, (6,), 1, likelihood=dq.Gaussian(0.5), rngs=nnx.Rngs(0), sigma_init=0.05)


def inputs(n=EXAMPLES):
    return jnp.asarray(np.random.default_rng(0).normal(size=(n, 2)), jnp.float32)


def targets(model):
    rng = np.random.default_rng(1)
    if model.likelihood.task == "classification":
        return rng.integers(0, 3, EXAMPLES)
    return np.asarray(model(inputs())) + 0.5 * rng.normal(size=(EXAMPLES, 1)).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("build", [classifier, regressor], ids=["classification", "regression"])
def test_the_error_is_the_jackknife_over_the_draws_of_the_prediction(build, key):
    model, x = build(), inputs()
    y = targets(model)

    @jax.jit
    @jax.vmap
    def densities(i):
        return model.likelihood(model(x, key=jax.random.fold_in(key, i)), y)

    p = np.exp(np.asarray(densities(jnp.arange(DRAWS)), np.float64))  # [draws, examples]
    found = dq.log_density_with_error(model, x, y, key=key, n_samples=DRAWS)
    plain = dq.log_predictive_density(model, x, y, key=key, n_samples=DRAWS)
    np.testing.assert_allclose(found.log_density, plain, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.mean, plain.mean(), rtol=1e-5)
    without_each = np.log((p.sum(axis=0) - p) / (DRAWS - 1))
    np.testing.assert_allclose(found.error, jackknife(without_each), rtol=1e-4)
    # All examples share the draws, so the error of the mean is not the mean error over the root of the examples.
    np.testing.assert_allclose(found.mean_error, jackknife(without_each.mean(axis=1)), rtol=1e-4)
    bias = (DRAWS - 1) * (without_each - np.log(p.mean(axis=0))).mean()
    np.testing.assert_allclose(found.bias, bias, rtol=1e-3, atol=1e-6)  # float32
    # These errors are small, so they are also those of the delta method.
    relative = p / p.mean(axis=0)
    np.testing.assert_allclose(found.error, relative.std(axis=0, ddof=1) / np.sqrt(DRAWS), rtol=0.02)
    np.testing.assert_allclose(found.bias, -0.5 * np.square(np.asarray(found.error)).mean(), rtol=0.05)


def jackknife(values):
    return np.sqrt((DRAWS - 1) * values.var(axis=0))


@pytest.mark.long
def test_batches_and_draws_side_by_side_change_nothing(key):
    model, x = classifier(), inputs()
    y = targets(model)
    found = dq.log_density_with_error(model, x, y, key=key, n_samples=DRAWS)
    parts = dq.log_density_with_error(model, x, y, key=key, n_samples=DRAWS, batch_size=5, draws_at_once=7)
    for whole, part in zip(jax.tree.leaves(found), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(part, whole, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "build",
    [pytest.param(classifier, id="classification", marks=pytest.mark.long), pytest.param(regressor, id="regression")],
)
def test_repeated_predictions_spread_as_estimated(build):
    model, x = build(), inputs()
    y = targets(model)
    repeats, draws = 400, 100
    keys = jax.random.split(jax.random.key(5), repeats)
    found = jax.vmap(lambda k: dq.log_density_with_error(model, x, y, key=k, n_samples=draws))(keys)
    # The standard deviation of 400 repetitions is known to 3.5 %, and the error varies with the draws.
    estimated = np.sqrt(np.square(np.asarray(found.mean_error)).mean())
    np.testing.assert_allclose(np.std(found.mean, ddof=1), estimated, rtol=0.15)
    estimated = np.sqrt(np.square(np.asarray(found.error)).mean(axis=0))
    np.testing.assert_allclose(np.std(found.log_density, axis=0, ddof=1), estimated, rtol=0.25)
    # 40,000 draws have hardly any bias.
    exact = dq.log_density_with_error(model, x, y, key=jax.random.key(6), n_samples=repeats * draws)
    bias, error = found.mean.mean() - exact.mean, np.hypot(np.std(found.mean) / 20, float(exact.mean_error))
    assert abs(float(bias - found.bias.mean())) < 5 * error
    # The number of draws that a prediction asks for agrees with the number from many draws.
    needed = float(np.median(jax.vmap(lambda one: one.draws_needed(0.01))(found)))
    assert 0.8 < needed / float(exact.draws_needed(0.01)) < 1.25


def test_the_error_is_stable_far_from_zero():
    """The rows are: around 0, an underflow, equal draws, one draw that gives the whole density, and no density."""
    near = np.random.default_rng(0).normal(0, 1e-3, 10)
    rows = [near, near - 1000.0, np.full(10, -1000.0), [0.0] + [-1e4] * 9, np.full(10, -np.inf)]
    log_density, error, *_ = jax.jit(_errors)(jnp.asarray(rows, jnp.float32))
    np.testing.assert_allclose(error[1], error[0], rtol=0.1)  # float32 holds -1000 to 6e-5
    np.testing.assert_allclose(error[2:], [0.0, 0.9 * 1e4, np.inf], rtol=1e-3)
    assert log_density[4] == -jnp.inf


@pytest.mark.parametrize("build", [classifier, regressor], ids=["classification", "regression"])
def test_a_result_estimates_its_error_for_targets_drawn_from_it(build, key):
    model, x = build(), inputs()
    n = DRAWS
    result = dq.predict_vi_uq(model, x, key=key, n_samples=n)
    square = 0.0
    if model.likelihood.task == "classification":  # the expectation is a sum over the labels
        for label in range(3):
            y = np.full(EXAMPLES, label)
            error = dq.log_density_with_error(model, x, y, key=key, n_samples=n).error
            square += np.asarray(result.probs)[:, label] * np.square(np.asarray(error))
        tolerance = 0.02
    else:  # Gauss-Hermite nodes of the Gaussian with the predictive moments
        nodes, weights = np.polynomial.hermite_e.hermegauss(9)
        for node, weight in zip(nodes, weights / weights.sum(), strict=True):
            y = result.mean + node * jnp.sqrt(result.total_var)
            error = dq.log_density_with_error(model, x, y, key=key, n_samples=n).error
            square += weight * np.square(np.asarray(error))
        tolerance = 0.15  # the means of this network are not quite Gaussian
    np.testing.assert_allclose(result.monte_carlo_error(), np.sqrt(square), rtol=tolerance)
    rms = float(np.sqrt(np.square(np.asarray(result.monte_carlo_error())).mean()))
    assert result.draws_needed(rms) == pytest.approx(n, abs=1)


def test_what_has_no_error_is_refused(key):
    x = inputs()
    with pytest.raises(ValueError, match="Expected n_samples to be at least 2"):
        dq.log_density_with_error(classifier(), x, np.zeros(EXAMPLES, int), key=key, n_samples=1)
    with pytest.raises(ValueError, match=r"Expected metadata\['n_samples'\] to be 2 or more .*; got None"):
        dq.UQResult(mean=jnp.zeros(1)).monte_carlo_error()
    unknown = dq.BayesByBackpropMLP(2, (6,), 1, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="Use log_density_with_error"):
        dq.predict_vi_uq(unknown, x, key=key, n_samples=3).monte_carlo_error()
    counts = dq.BayesByBackpropMLP(2, (6,), 1, likelihood=dq.Poisson(), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="Use log_density_with_error"):
        dq.predict_vi_uq(counts, x, key=key, n_samples=3).draws_needed()
    without_draws = dq.predict_vi_uq(regressor(), x, method="moments")
    np.testing.assert_array_equal(without_draws.monte_carlo_error(), 0.0)


def test_a_finding_names_the_number_of_draws():
    layer = LayerHealth("model", 1, 1.0, 0.0, (2.0,) * 5)
    health = FitHealth(0.1, 0.7, -1.0, 1.0, 1.0, (layer,), 0.0, (2.0,) * 5, 10, 100, 0.01, -0.005, 60.0)
    assert health.findings == ()
    assert "error of 50 draws in the log density: 0.01 nats, bias -0.005" in str(health)
    for worse in (dict(prediction_error=0.05), dict(prediction_bias=-0.05)):
        (finding,) = dataclasses.replace(health, draws_needed=1250.0, **worse).findings
        assert "Predictions need more than 50 draws" in finding
        assert "n_samples=1250 or more" in finding


@pytest.mark.long
def test_diagnose_says_when_predictions_need_more_draws(key):
    pytest.importorskip("arviz_stats")
    model, x = regressor(), inputs()
    y = targets(model)
    few = dq.diagnose(model, x, y, key=key, n_samples=100)
    assert not any("Predictions" in finding for finding in few.findings)
    noisy = dq.diagnose(model, x, y, key=key, n_samples=100, log_likelihood=dq.Gaussian(0.1))
    assert "Predictions need more than 50 draws" in noisy.findings[-1]
    exact = dq.log_density_with_error(model, x, y, key=jax.random.key(7), n_samples=5000)
    assert few.prediction_error == pytest.approx(float(exact.mean_error) * 10, rel=0.3)
    assert few.prediction_bias == pytest.approx(float(exact.bias) * 100, rel=0.5)
