"""The estimators for scikit-learn: compilation, units, weights, updates and refusals."""

import importlib
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from flax import nnx
from sklearn.model_selection import GridSearchCV, cross_val_predict

import deepuq_jax as dq
from deepuq_jax.priors import LaplacePrior
from deepuq_jax.sklearn import VIClassifier, VIRegressor
from deepuq_jax.sklearn._networks import REGRESSIONS
from deepuq_jax.sklearn._rows import WeightedRows, chunks, weighted_rows
from deepuq_jax.sklearn._units import Units
from deepuq_jax.tests.profiles import small_profile

RNG = np.random.RandomState(0)
X = RNG.normal(2.0, 3.0, size=(60, 2))
SIGNAL = (X[:, 0] - 2.0) / 3.0
Y = 50.0 + 10.0 * SIGNAL + RNG.normal(size=60)
LABELS = np.where(SIGNAL + RNG.normal(scale=0.3, size=60) > 0, "yes", "no")
TARGETS = {
    "gaussian": Y,
    "heteroscedastic": Y,
    "student_t": Y,
    "poisson": RNG.poisson(np.exp(1.0 + 0.3 * SIGNAL)),
    "negative_binomial": RNG.poisson(np.exp(1.0 + 0.3 * SIGNAL)),
    "log_normal": 1e4 * np.exp(SIGNAL),
}


def regressor(max_iter=40, n_samples=10, **options):
    return VIRegressor((4,), random_state=0, max_iter=max_iter, n_samples=n_samples, **options)


@pytest.mark.slow
@pytest.mark.parametrize("kind", small_profile(["regressor", "classifier"], ["regressor"]))
def test_candidates_that_differ_in_numbers_and_folds_of_similar_sizes_compile_once(kind, compilations):
    estimator, y = (regressor(), Y) if kind == "regressor" else (VIClassifier((4,), max_iter=40, n_samples=10), LABELS)
    estimator.set_params(prior=LaplacePrior(scale=1.0), learning_rate_init=0.01).fit(X[:40], y[:40]).predict(X[:5])
    programs = len(compilations)
    grid = {"prior": [LaplacePrior(scale=s) for s in (0.5, 2.0)], "learning_rate_init": [1e-3, 1e-2]}
    search = GridSearchCV(estimator, {**grid, "random_state": [1, 2]}, cv=3, refit=False).fit(X, y)
    assert len(search.cv_results_["params"]) == 8
    cross_val_predict(estimator, X[:59], y[:59], cv=3)  # Training sets of 39 and 40 rows.
    assert len(compilations) == programs


def check_agrees_with_its_model(estimator, x, tmp_path):
    """Check that the saved model, given data in their own units, predicts what the estimator predicts."""
    dq.save(tmp_path / "model.safetensors", estimator.model_)
    model = dq.load(tmp_path / "model.safetensors")
    result = dq.predict_vi_uq(model, x, key=jax.random.key(3), n_samples=200)
    mean, std = estimator.predict(x, return_std=True)
    error = 5.0 * np.sqrt(2.0 * np.asarray(result.epistemic_var)[:, 0] / 100)
    assert (np.abs(result.mean[:, 0] - mean) < error + 1e-4 * np.abs(mean)).all()
    assert np.median(np.sqrt(result.total_var)[:, 0] / std) == pytest.approx(1.0, abs=0.1)


# In `make test`, the programs of docs/scikit-learn.md take its place, with a regressor and a classifier.
@pytest.mark.long
@pytest.mark.parametrize("likelihood", REGRESSIONS)
def test_each_likelihood_fits_and_predicts_in_units_of_the_targets(likelihood, tmp_path):
    y = TARGETS[likelihood]
    estimator = regressor(likelihood=likelihood, max_iter=400, learning_rate_init=0.02, n_samples=100).fit(X, y)
    assert estimator.score(X, y) > (0.05 if likelihood in ("poisson", "negative_binomial") else 0.7)
    lower, upper = estimator.predict_interval(X, level=0.9)
    assert np.mean((lower <= y) & (y <= upper)) > 0.8
    quantiles = estimator.predict_quantiles(X, [0.05, 0.5, 0.95])
    assert quantiles.shape == (60, 3)
    assert np.array_equal(quantiles[:, [0, 2]], np.stack([lower, upper], axis=1))
    assert np.array_equal(estimator.predict_quantiles(X, 0.5), quantiles[:, 1])
    samples = estimator.sample_y(X, 100, random_state=1)
    mean, std = estimator.predict(X, return_std=True)
    assert samples.shape == (60, 100)
    assert (np.abs(samples.mean(axis=1) - mean) < 5.0 * std * np.sqrt(2.0 / 100.0)).all()
    result = estimator.predict_uq(X)
    assert np.allclose(result.mean[:, 0], mean, rtol=1e-5)
    assert np.allclose(result.interval(0.9)[0][:, 0], estimator.predict_interval(X)[0], rtol=1e-3, atol=1e-3)
    check_agrees_with_its_model(estimator, X.astype(np.float32), tmp_path)


@pytest.mark.slow
def test_an_update_has_the_last_posterior_as_its_prior():
    estimator = regressor().fit(X, Y)
    before, units = estimator._trained_network(), estimator._fitted.inputs
    estimator.partial_fit(X + 1.0, Y)
    prior, posterior = estimator._trained_network().layers[0].prior.priors[1], before.layers[0].kernel_posterior
    assert np.array_equal(prior.mu, posterior.mu)
    assert np.allclose(prior.sigma, posterior.sigma)
    assert estimator._fitted.inputs is units
    with pytest.raises(ValueError, match="to have 1 columns, as in the last fit"):
        estimator.partial_fit(X, np.stack([Y, Y], axis=1))


@pytest.mark.long
def test_a_warm_start_continues_in_the_units_of_the_last_fit():
    estimator = regressor(max_iter=400, warm_start=True).fit(X, Y)
    loss, units = estimator.loss_curve_[-1], estimator._fitted.inputs
    estimator.fit(X + 1.0, Y)
    assert estimator._fitted.inputs is units
    assert estimator.loss_curve_[-1] < loss + 0.1
    with pytest.raises(ValueError, match="refit without warm_start"):
        estimator.set_params(hidden_layer_sizes=(5,)).fit(X, Y)
    assert estimator.set_params(warm_start=False).fit(X, Y)._fitted.number == 0


@pytest.mark.long
def test_updates_may_hold_one_of_the_two_classes():
    estimator = VIClassifier((4,), max_iter=300, n_samples=10, random_state=0, learning_rate_init=0.03)
    estimator.partial_fit(X, LABELS, classes=["yes", "no"])
    assert estimator.classes_.tolist() == ["no", "yes"]
    estimator.partial_fit(X - 9.0, np.full(60, "no")).partial_fit(X, LABELS)
    assert estimator.score(X, LABELS) > 0.8
    probs = estimator.predict_proba(X)
    assert np.allclose(estimator.predict_uq(X).probs, probs, atol=1e-6)
    assert np.allclose(np.exp(estimator.predict_log_proba(X)), probs)
    with pytest.raises(ValueError, match=r"to hold the classes \['no', 'yes'\] alone; got maybe among its entries"):
        estimator.partial_fit(X, np.where(SIGNAL > 1, "maybe", LABELS))
    with pytest.raises(ValueError, match="as in the last fit"):
        estimator.partial_fit(X, LABELS, classes=["yes", "no", "maybe"])
    with pytest.raises(ValueError, match="range of the training data"):
        estimator.predict(X * 1e300)


@pytest.mark.long
def test_early_stopping_returns_before_the_last_pass():
    estimator = VIClassifier((4,), max_iter=2000, early_stopping=True, random_state=0, learning_rate_init=0.03)
    estimator.fit(X, LABELS)
    assert estimator.n_iter_ < 2000
    assert len(estimator.loss_curve_) == estimator.n_iter_
    assert estimator.score(X, LABELS) > 0.8


@pytest.mark.long
def test_several_targets_keep_their_columns():
    y = np.stack([Y, -3.0 * SIGNAL], axis=1)
    estimator = regressor(max_iter=400, learning_rate_init=0.02).fit(X, y)
    assert estimator.n_outputs_ == 2
    assert estimator.predict(X).shape == y.shape
    assert estimator.score(X, y) > 0.7
    assert estimator.predict_quantiles(X, [0.1, 0.5, 0.9]).shape == (60, 2, 3)
    assert estimator.sample_y(X, 5).shape == (60, 2, 5)


@pytest.mark.slow
def test_padding_does_not_change_the_elbo():
    model = dq.Sequential(dq.BayesianLinear(2, 1, rngs=nnx.Rngs(0)), likelihood=dq.Weighted(dq.Gaussian(1.0)))
    rows = WeightedRows(X[:, :], SIGNAL[:, None], RNG.uniform(size=60)).in_float()
    padded = rows.padded()
    assert len(padded.x) == 64

    def elbo(rows):
        objective = dq.ELBO(num_data=len(rows.x))
        loss, _ = objective(model, rows.x, (rows.y, rows.weight), key=jax.random.key(0))
        return len(rows.x) * float(loss)

    assert elbo(padded) == pytest.approx(elbo(rows), rel=1e-5)


@pytest.mark.parametrize("size", [1, 7, 60, 127, 128, 129, 397, 5000])
def test_padding_is_small_and_of_weight_zero(size):
    rows = weighted_rows(np.arange(2.0 * size).reshape(size, 2), np.arange(size), None)
    padded = rows.padded()
    added = len(padded.x) - size
    assert 0 <= added <= max(7, size / 16)
    assert np.array_equal(padded.x[:size], rows.x)
    assert np.array_equal(padded.weight, np.repeat([1.0, 0.0], [size, added]))
    cut = np.concatenate([chunk[:count] for chunk, count in chunks(rows.x)])
    assert np.array_equal(cut, rows.x)


def test_rows_of_weight_zero_are_left_out():
    weight = np.arange(6.0) % 3
    rows = weighted_rows(X[:6], Y[:6], weight)
    assert np.array_equal(rows.x, X[:6][weight > 0])
    assert rows.weight.tolist() == [1.0, 2.0, 1.0, 2.0]


def test_units_are_weighted_and_constant_columns_are_not_scaled():
    values = np.stack([np.arange(4.0), np.full(4, 0.1), 1e9 + np.arange(4.0)], axis=1)
    weight = np.array([1.0, 2.0, 0.0, 1.0])
    units = Units.of_columns("X", values, weight)
    repeated = values[[0, 1, 1, 3]]
    assert np.allclose(units.centre, repeated.mean(axis=0), rtol=1e-15)
    assert np.allclose(units.scale, [repeated[:, 0].std(), 1.0, repeated[:, 2].std()])
    with pytest.raises(ValueError, match="to have a finite variance"):
        Units.of_columns("X", values[:, :1] * 1e300, weight)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"hidden_layer_sizes": 8}, TypeError, "hidden_layer_sizes"),
        ({"activation": "logistic"}, ValueError, "activation"),
        ({"likelihood": "gamma"}, ValueError, "likelihood"),
        ({"likelihood": "poisson"}, ValueError, "whole numbers"),
        ({"likelihood": "log_normal"}, ValueError, "positive"),
        ({"prior": 0.1}, TypeError, "prior"),
        ({"max_iter": 0}, ValueError, "max_iter"),
        ({"batch_size": 1.5}, ValueError, "batch_size"),
        ({"learning_rate_init": -1.0}, ValueError, "learning_rate_init"),
        ({"optimizer": 1e-3}, TypeError, "optimizer"),
        ({"early_stopping": 1}, TypeError, "early_stopping"),
        ({"early_stopping": True, "validation_fraction": 1.0}, ValueError, "validation_fraction"),
        ({"early_stopping": True, "n_iter_no_change": 0}, ValueError, "n_iter_no_change"),
        ({"scale": 1}, TypeError, "scale"),
        ({"warm_start": 1}, TypeError, "warm_start"),
        ({"verbose": 1}, TypeError, "verbose"),
    ],
)
def test_what_cannot_be_right_is_refused_by_name(options, error, message):
    with pytest.raises(error, match=f"Expected .*{message}"):
        VIRegressor(**options).fit(X, Y - 50.5)


@pytest.mark.parametrize("weight", [np.zeros(60), np.ones(59), np.ones((60, 1)), -np.ones(60)])
def test_weights_that_cannot_be_right_are_refused(weight):
    with pytest.raises(ValueError, match="sample_weight"):
        VIRegressor().fit(X, Y, sample_weight=weight)


def test_an_optimizer_and_a_rate_exclude_each_other():
    with pytest.raises(ValueError, match="learning_rate_init to be None with optimizer"):
        VIRegressor(optimizer=dq.natural_gradient(), learning_rate_init=0.1).fit(X, Y)


def test_without_scikit_learn_the_import_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("deepuq_jax.sklearn")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn.utils.validation", None)
    with pytest.raises(ImportError, match=r"pip install 'deepuq-jax\[sklearn\]'"):
        importlib.import_module("deepuq_jax.sklearn")


def test_several_labels_per_row_are_refused_by_name():
    with pytest.raises(ValueError, match=r"Expected y to hold one label per row; .*MultiOutputClassifier"):
        VIClassifier(max_iter=1).fit(X, np.stack([SIGNAL > 0, SIGNAL > 1], axis=1).astype(int))


# Prints the CPU time of ten folds, the least of three runs, of VIRegressor with MLPRegressor's settings and of
# MLPRegressor.
TEN_FOLDS = """
import time, warnings
from sklearn.datasets import load_diabetes
from sklearn.model_selection import cross_val_score
from sklearn.neural_network import MLPRegressor
from deepuq_jax.sklearn import VIRegressor
warnings.simplefilter("ignore")
X, y = load_diabetes(return_X_y=True)
estimators = VIRegressor((100,), max_iter=200, batch_size=200, random_state=0), MLPRegressor(random_state=0)
def seconds(estimator):
    start = time.process_time()
    cross_val_score(estimator, X, y, cv=10)
    return time.process_time() - start
seconds(estimators[0])  # This compiles.
rounds = [[seconds(estimator) for estimator in estimators] for _ in range(3)]
print(*map(min, zip(*rounds)))
"""


@pytest.mark.long
def test_ten_folds_take_at_most_one_and_a_half_times_as_long_as_with_scikit_learn():
    # The tests' own process compiles without optimizations.
    environment = os.environ | {"XLA_FLAGS": "", "OMP_NUM_THREADS": "1"}
    options = dict(capture_output=True, text=True, check=True, env=environment)
    ours, theirs = map(float, subprocess.run([sys.executable, "-c", TEN_FOLDS], **options).stdout.split())
    assert ours <= 1.5 * theirs
