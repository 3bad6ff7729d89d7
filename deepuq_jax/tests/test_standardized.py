"""Data in their own units: `Standardized` behaves like its inner model on standardized data."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax.training._scale import ScaleWarning

# Together, these tests take too long for `make check`.
pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = (300.0 + 50.0 * RNG.standard_normal((40, 3))).astype(np.float32)
Y = (1000.0 + 2.0 * X[:, :1] + 20.0 * RNG.standard_normal((40, 1))).astype(np.float32)
X_STD, Y_STD = X.std(0), Y.std(0)
Z, T = (X - X.mean(0)) / X_STD, (Y - Y.mean(0)) / Y_STD
OPTIONS = {"key": KEY, "epochs": 20, "optimizer": optax.adam(1e-2), "objective": dq.ELBO()}


def regressor(kind):
    if kind == "Gaussian":
        return dq.BayesByBackpropMLP(3, (4,), 1, likelihood=dq.Gaussian(0.3), rngs=nnx.Rngs(0))
    return dq.HeteroscedasticBayesByBackpropRegressor(3, (4,), rngs=nnx.Rngs(0))


@pytest.fixture(params=["Gaussian", pytest.param("heteroscedastic", marks=pytest.mark.long)], scope="module")
def pair(request):
    """Return the wrapped model trained on the data, and the inner model trained on standardized data."""
    wrapped = dq.fit(dq.Standardized(regressor(request.param), X, Y), X, Y, **OPTIONS)
    plain = dq.fit(regressor(request.param), Z, T, **OPTIONS)
    return wrapped, plain


def test_training_equals_training_on_standardized_data(pair):
    wrapped, plain = pair
    jacobian = np.log(Y_STD).sum()
    np.testing.assert_allclose(wrapped.history["nll"], plain.history["nll"] + jacobian, rtol=1e-3)
    np.testing.assert_allclose(wrapped.history["kl"], plain.history["kl"], rtol=1e-4)


def test_predictions_are_in_the_units_of_the_data(pair):
    wrapped, plain = pair
    ours = dq.predict_vi_uq(wrapped.model, X, key=KEY, n_samples=5)
    theirs = dq.predict_vi_uq(plain.model, Z, key=KEY, n_samples=5)
    np.testing.assert_allclose(ours.mean, Y.mean(0) + Y_STD * np.asarray(theirs.mean), rtol=1e-3)
    for name in ("epistemic_var", "aleatoric_var", "total_var"):
        np.testing.assert_allclose(getattr(ours, name), Y_STD**2 * np.asarray(getattr(theirs, name)), rtol=1e-2)
    for bound, standard in zip(ours.interval(0.9), theirs.interval(0.9), strict=True):
        np.testing.assert_allclose(bound, Y.mean(0) + Y_STD * np.asarray(standard), rtol=1e-3)
    density = dq.log_predictive_density(wrapped.model, X, Y, key=KEY, n_samples=5)
    standard = dq.log_predictive_density(plain.model, Z, T, key=KEY, n_samples=5)
    np.testing.assert_allclose(density, standard - np.log(Y_STD).sum(), rtol=1e-3, atol=1e-3)
    crps, standard = dq.metrics.crps(ours, Y), dq.metrics.crps(theirs, T)
    np.testing.assert_allclose(crps, np.ravel(Y_STD)[0] * standard, rtol=1e-2)


def test_it_is_a_model_like_any_other():
    model = dq.Standardized(regressor("Gaussian"), X, Y)
    np.testing.assert_allclose(model(X, key=KEY), model.model(Z, key=KEY), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(dq.draw(model, key=KEY)(X), model(X, key=KEY), rtol=1e-5)
    np.testing.assert_allclose(model(X, noise=model.draw_noise(X, key=KEY)), model(X, key=KEY), rtol=1e-5)
    assert float(model.kl()) == float(model.model.kl())
    loss = dq.negative_elbo(model, X, Y, key=KEY, num_data=40)[0]
    params, rest = dq.partition(model)
    assert all(name.startswith("model.") for name in params)
    np.testing.assert_allclose(dq.negative_elbo(dq.combine(params, rest), X, Y, key=KEY, num_data=40)[0], loss)
    assert "x_mean" in rest.carried
    single = dq.Standardized(dq.BayesByBackpropMLP(3, (), 1, likelihood=dq.Gaussian(0.3), rngs=nnx.Rngs(0)), X, Y)
    moments = dq.predict_vi_uq(single, X, key=KEY, method="moments", n_samples=2000)
    drawn = dq.predict_vi_uq(single, X, key=KEY, n_samples=4000)
    np.testing.assert_allclose(moments.mean, drawn.mean, atol=float(5 * Y_STD.max() * 0.1 / 40))


@pytest.mark.parametrize(
    ("likelihood", "targets"),
    [
        (dq.Categorical(), np.arange(40) % 2),
        (dq.Poisson(), np.arange(80).reshape(40, 2) % 5),
        (dq.LogNormal(0.5), np.tile(Y, 2)),
    ],
    ids=["labels", "counts", "positive"],
)
def test_only_real_targets_are_transformed(likelihood, targets):
    inner = dq.BayesByBackpropMLP(3, (), 2, likelihood=likelihood, rngs=nnx.Rngs(0))
    model = dq.Standardized(inner, X, targets)
    assert model.likelihood == likelihood
    options = {"key": KEY, "num_data": 40}
    loss = dq.negative_elbo(model, X, targets, **options)[0]
    np.testing.assert_allclose(loss, dq.negative_elbo(inner, Z, targets, **options)[0], rtol=1e-4)


def test_a_fit_on_raw_data_warns_once_with_the_remedy():
    """Without the warning, a fit on raw data went unnoticed whose 95 % interval covered 19 % of the targets."""
    for x, y, what in ((X, T, "input feature"), (Z, Y, "a target has a root mean square"), (Z, 1e-3 * T, "deviation")):
        with pytest.warns(ScaleWarning, match=what) as caught:
            dq.fit(regressor("Gaussian"), x, y, key=KEY, epochs=1)
        assert len(caught) == 1
        assert "dq.Standardized(model, x, y)" in str(caught[0].message)
    with pytest.warns(ScaleWarning):
        dq.fit(regressor("heteroscedastic"), X, Y, key=KEY, epochs=1)
    dq.fit(regressor("Gaussian"), Z, T, key=KEY, epochs=1)
    dq.fit(dq.Standardized(regressor("Gaussian"), X, Y), X, Y, key=KEY, epochs=1)


def test_raw_data_are_covered():
    """With `Standardized`, the 95 % interval covers about as many of the raw targets as it should."""
    model = dq.Standardized(dq.HomoscedasticBayesByBackpropRegressor(3, (16,), rngs=nnx.Rngs(0)), X, Y)
    model = dq.fit(model, X, Y, key=KEY, epochs=600).model
    lower, upper = dq.predict_vi_uq(model, X, key=KEY).interval(0.95)
    assert float(jnp.mean((lower < Y) & (upper > Y))) > 0.8


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dq.Standardized(nnx.Linear(3, 1, rngs=nnx.Rngs(0)), X, Y), "bayesianize"),
        (lambda: dq.Standardized(dq.BayesianLinear(3, 1, rngs=nnx.Rngs(0)), X, Y), "with a likelihood"),
        (lambda: dq.Standardized(regressor("Gaussian"), X.astype(int), Y), "real numbers"),
        (lambda: dq.Standardized(regressor("Gaussian"), X * np.nan, Y), "finite"),
    ],
)
def test_what_cannot_be_standardized_is_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()
