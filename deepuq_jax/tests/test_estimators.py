"""Estimators beyond the contracts: shared weights, gradients at zero rows, joint distributions, and prediction."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax.model.posteriors import with_drawn_weights
from deepuq_jax.tests import tolerances

SINGLE_OUTPUT = [dq.local_reparameterization, dq.approximate_local_reparameterization]
# On inputs [batch, in_features], the approximate form equals the exact form, so `make test` runs only the exact form.
OTHERS = [
    dq.local_reparameterization,
    pytest.param(dq.approximate_local_reparameterization, marks=pytest.mark.long),
    dq.flipout,
]
DRAWS = 20_000


def linear(estimator, **options):
    return dq.BayesianLinear(3, 2, estimator=estimator, sigma_init=0.3, rngs=nnx.Rngs(0), **options)


def conv(estimator):
    return dq.BayesianConv(4, 2, (3,), estimator=estimator, sigma_init=0.3, feature_group_count=2, rngs=nnx.Rngs(0))


def draws_of(layer, x, key):
    keys = jax.random.split(key, DRAWS)
    return np.asarray(jax.lax.map(lambda k: layer(x, key=k), keys, batch_size=1000), np.float64)


def test_shared_weights_are_refused_unless_asked_for(key):
    x = jnp.ones((2, 5, 3))
    with pytest.raises(ValueError, match=r"Expected x to have shape \[batch, in_features\]"):
        linear(dq.local_reparameterization)(x, key=key)
    with pytest.raises(ValueError, match="approximate_local_reparameterization"):
        conv(dq.local_reparameterization)(jnp.ones((2, 5, 4)), key=key)
    assert linear(dq.approximate_local_reparameterization)(x, key=key).shape == (2, 5, 2)


@pytest.mark.parametrize("estimator", [dq.flipout, dq.approximate_local_reparameterization])
def test_a_convolution_has_the_moments_of_weight_sampling(estimator, key):
    x = jax.random.normal(jax.random.key(3), (2, 5, 4))
    ours, reference = draws_of(conv(estimator), x, key), draws_of(conv(dq.weight_sampling), x, jax.random.key(1))
    variance = reference.var(axis=0)
    error = tolerances.STANDARD_ERRORS * np.sqrt(2 * variance / DRAWS)
    np.testing.assert_array_less(np.abs(ours.mean(axis=0) - reference.mean(axis=0)), error)
    error = tolerances.STANDARD_ERRORS * variance * np.sqrt(4 / DRAWS)
    np.testing.assert_array_less(np.abs(ours.var(axis=0) - variance), error)


def test_flipout_shares_noise_between_positions_but_not_between_examples(key):
    x = jnp.broadcast_to(jnp.array([1.0, -2.0, 0.5]), (2, 2, 3))
    draws = draws_of(linear(dq.flipout), x, key)[..., 0]
    np.testing.assert_allclose(draws[:, :, 0], draws[:, :, 1], rtol=1e-5, atol=1e-6)
    correlation = np.corrcoef(draws[:, 0, 0], draws[:, 1, 0])[0, 1]
    assert abs(correlation) < tolerances.STANDARD_ERRORS / np.sqrt(DRAWS)


def test_flipout_of_an_example_without_a_batch_axis(key):
    layer, x = linear(dq.flipout), jnp.asarray([1.0, -2.0, 0.5])
    noise = layer.draw_noise(x, key=key)
    in_signs, out_signs = (np.where(noise[name], 1.0, -1.0) for name in ("in_signs", "out_signs"))
    kernel, bias = layer.kernel_posterior, layer.bias_posterior
    deviation = (x * in_signs) @ (kernel.sigma * noise["kernel"]) + bias.sigma * noise["bias"]
    expected = x @ kernel.mu[...] + bias.mu[...] + out_signs * deviation
    np.testing.assert_allclose(layer(x, key=key), expected, rtol=1e-5)


@pytest.mark.parametrize("estimator", SINGLE_OUTPUT)
def test_the_gradient_at_a_row_of_zeros_is_that_of_the_mean(estimator, key):
    layer, x = linear(estimator, use_bias=False), jnp.zeros((1, 3))
    grads, of_x = jax.grad(lambda layer, x: layer(x, key=key).sum(), argnums=(0, 1))(layer, x)
    np.testing.assert_array_equal(grads.kernel_posterior.rho, np.zeros((3, 2)))
    np.testing.assert_allclose(of_x[0], layer.kernel_posterior.mu.sum(axis=1), rtol=1e-6)


def test_local_reparameterization_against_its_formula_and_gradient(x64, key):
    layer = linear(dq.local_reparameterization, param_dtype=jnp.float64)
    x = jax.random.normal(key, (4, 3), jnp.float64)
    noise = layer.draw_noise(x, key=key)
    mu, sigma = layer.kernel_posterior.mu[...], layer.kernel_posterior.sigma
    std = np.sqrt(np.square(x) @ np.square(sigma) + np.square(layer.bias_posterior.sigma))
    np.testing.assert_allclose(layer(x, noise=noise), x @ mu + std * noise, rtol=1e-12)
    rho_grad = jax.grad(lambda m: m(x, noise=noise).sum())(layer).kernel_posterior.rho
    slope = jax.nn.sigmoid(layer.kernel_posterior.rho[...])
    np.testing.assert_allclose(rho_grad, np.square(x).T @ (noise / std) * sigma * slope, rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", OTHERS)
def test_prediction_samples_weights_whatever_the_estimator(estimator, key):
    def build(estimator):
        return dq.BayesByBackpropMLP(3, (8,), 2, estimator=estimator, likelihood=dq.Categorical(), rngs=nnx.Rngs(0))

    x, y = jnp.ones((4, 3)), jnp.zeros(4, int)
    model, reference = build(estimator), build(dq.weight_sampling)
    result = dq.predict_vi_uq(model, x, key=key)
    np.testing.assert_array_equal(result.probs, dq.predict_vi_uq(reference, x, key=key).probs)
    np.testing.assert_array_equal(result.epistemic_var[0], result.epistemic_var[1])

    def density(model):
        return dq.log_predictive_density(model, x, y, key=key)

    np.testing.assert_array_equal(density(model), density(reference))
    np.testing.assert_array_equal(dq.predict_vi_uq(model, x, key=key).probs, result.probs)
    inside = with_drawn_weights({"net": model, "n": 1})
    np.testing.assert_array_equal(inside["net"](x, key=key), reference(x, key=key))
    assert model.layers[0].estimator is estimator


@pytest.mark.slow
@pytest.mark.parametrize("estimator", OTHERS)
def test_a_model_trains_with_each_estimator(estimator, key):
    x = jnp.linspace(-1, 1, 64)[:, None]
    features = jnp.concatenate([x, x**2], axis=1)
    model = dq.BayesByBackpropMLP(2, (), 1, estimator=estimator, likelihood=dq.Gaussian(0.1), rngs=nnx.Rngs(0))
    history = dq.fit(model, features, x**2, key=key, epochs=250, optimizer=optax.adam(1e-2)).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]


@pytest.mark.slow
def test_gradients_vary_less_than_with_weight_sampling(key):
    """The batch mean of the gradient has a lower variance with local reparameterization and with Flipout.

    Flipout gains less: examples share the magnitude of the noise and differ in its sign, so the part of the gradient
    that is even in the noise stays correlated.
    """
    x = jax.random.normal(jax.random.key(2), (64, 3))
    keys = jax.random.split(key, 500)

    def variance(estimator):
        layer = linear(estimator)
        grad = jax.grad(lambda m, k: jnp.mean(jnp.square(m(x, key=k))))
        grads = jax.lax.map(lambda k: grad(layer, k).kernel_posterior.rho, keys)
        return float(grads.var(axis=0).mean())

    reference = variance(dq.weight_sampling)
    assert variance(dq.local_reparameterization) < 0.3 * reference
    assert variance(dq.flipout) < 0.6 * reference
