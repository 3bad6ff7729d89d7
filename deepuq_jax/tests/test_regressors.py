"""Regressors beyond the contracts: learned noise, activations by name, and refused input."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy import special, stats

import deepuq_jax as dq
from deepuq_jax.layers.activations import ACTIVATIONS, activation_function


def rngs():
    return nnx.Rngs(0)


# A test passes a keyword that does not exist, and `Any` hides it from the type checker.
ANY_REGRESSOR: Any = dq.MultiOutputBayesByBackpropRegressor
HETEROSCEDASTIC = [
    lambda outputs: dq.HeteroscedasticBayesByBackpropRegressor(3, (4,), outputs, rngs=rngs()),
    lambda outputs: dq.HeteroscedasticMultiOutputBayesByBackpropRegressor(3, outputs, (4,), rngs=rngs()),
]


def test_documented_sizes_and_relu():
    for model, outputs in [
        (dq.MultiOutputBayesByBackpropRegressor(3, 2, rngs=rngs()), 2),
        (dq.HeteroscedasticMultiOutputBayesByBackpropRegressor(3, 2, rngs=rngs()), 4),
        (dq.HeteroscedasticBayesByBackpropRegressor(3, rngs=rngs()), 2),
    ]:
        shapes = [layer.kernel_posterior.mu.shape for layer in list(model.layers)[::2]]
        assert shapes == [(3, 64), (64, 64), (64, outputs)]
        assert model.layers[1] == activation_function(nnx.relu)
    assert dq.BayesByBackpropMLP(3, (4,), 2, rngs=rngs()).layers[1] == activation_function(nnx.relu)
    assert dq.BayesByBackpropRegressor is dq.BayesByBackpropMLP


@pytest.mark.parametrize("make", HETEROSCEDASTIC)
def test_outputs_are_means_and_then_raw_variances(make):
    model = make(2)
    prediction = jnp.asarray([[1.0, 2.0, 0.5, -100.0]])
    mean, raw_var = model.split_prediction(prediction)
    np.testing.assert_array_equal(mean, prediction[:, :2])
    variance = np.array([[np.log1p(np.exp(0.5)) + 1e-6, 1e-6]])
    np.testing.assert_allclose(model.predictive_variance(raw_var), variance, rtol=1e-6)
    target = jnp.asarray([[0.5, 2.001]])
    expected = 0.5 * ((np.asarray(target, float) - np.asarray(mean, float)) ** 2 / variance + np.log(variance)).sum()
    np.testing.assert_allclose(model.nll(prediction, target), expected, rtol=1e-5)
    doubled = model.nll(jnp.tile(prediction, (2, 1)), jnp.tile(target, (2, 1)))
    np.testing.assert_allclose(doubled, expected, rtol=1e-5)  # The NLL is a mean over the batch.


@pytest.mark.slow
def test_learned_noise_is_learned(key):
    """The predicted noise comes near the two true levels, one on each side of zero."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(4096, 1)).astype(np.float32)
    true = np.where(x > 0, 0.5, 0.1)
    y = np.sin(3 * x) + true * rng.normal(size=x.shape).astype(np.float32)
    prior = dq.GaussianPrior(sigma=1.0)
    model = dq.HeteroscedasticBayesByBackpropRegressor(1, (16,), prior=prior, rngs=rngs())
    trained = dq.fit(model, x, y, key=key, epochs=60, optimizer=optax.adam(1e-2)).model
    result = dq.predict_vi_uq(trained, jnp.asarray([[-0.5], [0.5]]), key=key)
    low, high = np.sqrt(np.asarray(result.aleatoric_var))[:, 0]
    assert 0.05 < low < 0.2 < 0.35 < high < 0.65


@pytest.mark.slow
def test_noise_learned_for_all_inputs_comes_near_the_true_one_of_each_target(key):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(2048, 1)).astype(np.float32)
    true = np.array([0.1, 0.5])
    y = (np.sin(3 * x) * [1.0, -1.0] + true * rng.normal(size=(2048, 2))).astype(np.float32)
    prior = dq.GaussianPrior(sigma=1.0)
    options = dict(prior=prior, estimator=dq.weight_sampling)  # A draw equals a call under weight sampling alone.
    model = dq.HomoscedasticBayesByBackpropRegressor(1, (16,), 2, **options, rngs=rngs())
    trained = dq.fit(model, x, y, key=key, epochs=60, optimizer=optax.adam(2e-2)).model
    result = dq.predict_vi_uq(trained, jnp.asarray([[-0.5], [0.5]]), key=key, aleatoric_var=9.0)
    std = np.sqrt(np.asarray(result.aleatoric_var))
    np.testing.assert_array_equal(std[0], std[1])
    # Where the ELBO is stationary, the variance is E[(y - f)^2], which includes the spread of the posterior.
    means = jax.vmap(lambda k: trained.split_prediction(trained(x, key=k))[0])(jax.random.split(key, 50))
    np.testing.assert_allclose(std[0] ** 2, jnp.mean((means - y[None]) ** 2, axis=(0, 1)), rtol=0.1)
    np.testing.assert_allclose(std[0], true, rtol=0.3)
    assert result.metadata["heteroscedastic"] is False
    fixed = dq.draw(trained, key=key)
    np.testing.assert_allclose(fixed(x[:4]), trained(x[:4], key=key), rtol=1e-5, atol=1e-6)


def test_by_default_the_regressors_with_learned_noise_have_local_reparameterization():
    for regressor in (dq.HomoscedasticBayesByBackpropRegressor, dq.HeteroscedasticBayesByBackpropRegressor):
        assert regressor(3, (4,), rngs=rngs()).layers[0].estimator is dq.local_reparameterization
        chosen = regressor(3, (4,), estimator=dq.flipout, rngs=rngs())
        assert chosen.layers[0].estimator is dq.flipout


def test_learned_noise_is_an_ordinary_parameter_of_the_likelihood_alone(key):
    model = dq.HomoscedasticBayesByBackpropRegressor(3, (4,), 2, rngs=rngs())
    x, y = jnp.ones((5, 3)), jnp.asarray(np.random.default_rng(0).normal(size=(5, 2)), jnp.float32)
    grads = nnx.jit(nnx.grad(lambda m: m.kl()))(model)
    np.testing.assert_array_equal(grads["layers"][3]["raw_var"][...], 0.0)
    outputs = model(x, key=jax.random.fold_in(key, 0))
    mean, raw_var = model.split_prediction(outputs)
    np.testing.assert_allclose(model.predictive_variance(raw_var), 1.0, rtol=1e-6)
    _, terms = dq.negative_elbo(model, x, y, key=key, num_data=5)
    expected = -stats.norm.logpdf(y, mean, 1.0).sum(axis=1).mean()
    np.testing.assert_allclose(terms.nll, expected, rtol=1e-5)
    # The model's own likelihood takes precedence over a criterion.
    _, terms = dq.vi_elbo_step(model, x, y, 2, key=key, criterion=lambda outputs, y: 1e9)
    np.testing.assert_allclose(terms.nll, expected - np.log(2 * np.pi), rtol=1e-5)
    around = dq.Sequential(
        dq.BayesianLinear(3, 2, rngs=rngs()), dq.LearnedNoise(2), likelihood=dq.HomoscedasticGaussian()
    )
    assert dq.predict_vi_uq(around, x, key=key, n_samples=2).aleatoric_var.shape == (5, 2)


def test_named_noise_is_used(key):
    x, y = jnp.ones((4, 3)), jnp.ones((4, 2))
    named = dq.MultiOutputBayesByBackpropRegressor(3, 2, (4,), likelihood=dq.Gaussian(0.5), rngs=rngs())
    unnamed = dq.MultiOutputBayesByBackpropRegressor(3, 2, (4,), rngs=rngs())
    loss, _ = dq.negative_elbo(named, x, y, key=key, num_data=4)
    again, _ = dq.negative_elbo(unnamed, x, y, key=key, num_data=4, log_likelihood=dq.Gaussian(0.5))
    np.testing.assert_array_equal(loss, again)
    assert dq.predict_vi_uq(unnamed, x, key=key, n_samples=2).aleatoric_var is None


def test_activations_by_name():
    z = np.linspace(-4, 4, 33)
    exact = {"relu": np.maximum(z, 0), "gelu": z * stats.norm.cdf(z), "tanh": np.tanh(z), "silu": z * special.expit(z)}
    assert exact.keys() == ACTIVATIONS.keys()
    for name, values in exact.items():
        np.testing.assert_allclose(activation_function(name)(jnp.asarray(z)), values, rtol=1e-5, atol=1e-6)
        assert dq.BayesByBackpropMLP(1, (2,), 1, activation=name.upper(), rngs=rngs()).layers[1] == activation_function(
            name
        )
    assert activation_function(jax.nn.elu) is jax.nn.elu


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: HETEROSCEDASTIC[0](0), ValueError, "Expected output_dim"),
        (lambda: HETEROSCEDASTIC[1]("2"), TypeError, "Expected output_dim"),
        (lambda: dq.MultiOutputBayesByBackpropRegressor(0, 2, rngs=rngs()), ValueError, "Expected input_dim"),
        (lambda: dq.HeteroscedasticBayesByBackpropRegressor(3, 4, rngs=rngs()), TypeError, "Expected hidden_dims"),
        (lambda: HETEROSCEDASTIC[0](1).split_prediction(jnp.ones((4, 3))), ValueError, "Expected prediction"),
        (lambda: HETEROSCEDASTIC[0](1).nll(jnp.ones((4, 4)), jnp.ones((4, 2))), ValueError, "Expected prediction"),
        (lambda: HETEROSCEDASTIC[0](1).nll(jnp.ones((4, 2)), jnp.ones(4)), ValueError, "Expected y of shape"),
        (
            lambda: dq.MultiOutputBayesByBackpropRegressor(3, 2, activation="swish", rngs=rngs()),
            ValueError,
            "Expected activation to be one of relu, gelu, tanh, silu; got 'swish'",
        ),
        (lambda: dq.BayesByBackpropMLP(3, (), 2, activation=3, rngs=rngs()), TypeError, "Expected activation"),
        (
            lambda: ANY_REGRESSOR(3, 2, prior_sigma=0.1, rngs=rngs()),
            TypeError,
            "prior_sigma",
        ),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
