"""Moment propagation against exact moments, and antithetic draws."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax.functional import relu_moments
from deepuq_jax.tests import tolerances

PRIOR = dq.GaussianPrior(sigma=1.0)


def exact_relu_moments(mean, var):
    """Return the moments by the textbook form in 60 digits, where its cancellation does no harm."""
    with mpmath.workdps(60):
        mean, std = mpmath.mpf(float(mean)), mpmath.sqrt(float(var))
        a = mean / std
        first = mean * mpmath.ncdf(a) + std * mpmath.npdf(a)
        second = (mean**2 + std**2) * mpmath.ncdf(a) + mean * std * mpmath.npdf(a)
        return float(first), float(second - first**2)


def test_relu_moments_hold_over_decades(dtype):
    means, variances = map(np.ravel, np.meshgrid([-8.0, -1.0, -0.1, 0.0, 0.3, 2.0, 50.0], [1e-6, 0.1, 1.0, 30.0]))
    means, variances = means.astype(dtype), variances.astype(dtype)
    mean, var = jax.jit(relu_moments)(means, variances)
    expected = np.array([exact_relu_moments(m, v) for m, v in zip(means, variances, strict=True)])
    # Where the mean is far below 0, the terms cancel, so the error is relative to the variance of the input.
    slack = tolerances.CLOSED_FORM[dtype.name]
    np.testing.assert_array_less(np.abs(mean - expected[:, 0]), slack * (np.abs(expected[:, 0]) + np.sqrt(variances)))
    np.testing.assert_array_less(np.abs(var - expected[:, 1]), slack * (expected[:, 1] + variances))


def test_relu_of_a_certain_input_is_certain_with_a_finite_gradient():
    mean, var = relu_moments(jnp.array([-1.0, 2.0]), jnp.zeros(2))
    np.testing.assert_array_equal(mean, [0.0, 2.0])
    np.testing.assert_array_equal(var, [0.0, 0.0])
    assert np.isfinite(jax.grad(lambda v: relu_moments(jnp.ones(()), v)[1])(0.0))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(dq.BayesianLinear(3, 2, rngs=nnx.Rngs(0)), (4, 3)), (dq.BayesianConv(2, 2, (3,), rngs=nnx.Rngs(0)), (2, 5, 2))],
)
def test_one_layer_is_exact(layer, shape, key):
    x = jax.random.normal(key, shape)
    mean, var = layer.propagate(x)
    draws = jax.vmap(lambda k: layer(x, key=k))(jax.random.split(key, 4000))
    np.testing.assert_allclose(mean, layer(x), rtol=1e-6, atol=1e-7)
    error = tolerances.STANDARD_ERRORS * np.asarray(var) * np.sqrt(2 / len(draws))
    np.testing.assert_array_less(np.abs(draws.var(axis=0) - var), error)


def trained(hidden, likelihood, key):
    x = jax.random.uniform(key, (64, 2), minval=-1.0)
    model = dq.BayesByBackpropMLP(2, hidden, 1, likelihood=likelihood, prior=PRIOR, rngs=nnx.Rngs(0))
    return dq.fit(model, x, jnp.sin(3 * x[:, :1]), key=key, epochs=60, batch_size=64).model, x


@pytest.mark.slow
@pytest.mark.long
def test_the_error_against_draws_is_as_documented(key):
    model, x = trained((50,), dq.Gaussian(0.1), key)
    moments = dq.predict_vi_uq(model, x, method="moments")
    draws = dq.predict_vi_uq(model, x, key=key, n_samples=2000)
    std = np.sqrt(draws.epistemic_var)
    # The docs say 3 % of the standard deviation; the error of the draws is added.
    own = tolerances.STANDARD_ERRORS / np.sqrt(2 * 2000)
    np.testing.assert_allclose(np.sqrt(moments.epistemic_var), std, rtol=0.03 + own)
    np.testing.assert_array_less(np.abs(moments.mean - draws.mean), (0.05 + own) * std)
    np.testing.assert_allclose(moments.aleatoric_var, 0.01, rtol=1e-6)
    assert moments.metadata == {"method": "moments", "n_samples": 0, "task": "regression", "heteroscedastic": False}
    in_parts = dq.predict_vi_uq(model, x, method="moments", batch_size=10)
    np.testing.assert_allclose(in_parts.total_var, moments.total_var, rtol=1e-5)


def test_a_last_layer_model_is_exact_in_classification_too(key):
    model = dq.LastLayerVariationalInference(jnp.tanh, 3, 4, task="classification", sigma_init=0.5, rngs=nnx.Rngs(0))
    x = jax.random.normal(key, (5, 3))
    moments = dq.predict_vi_uq(model, x, key=key, n_samples=4000, method="moments")
    draws = dq.predict_vi_uq(model, x, key=key, n_samples=4000)
    error = tolerances.STANDARD_ERRORS * np.sqrt(2 * np.asarray(draws.probs_var) / 4000)
    np.testing.assert_array_less(np.abs(moments.probs - draws.probs), error)
    assert moments.metadata["method"] == "moments"
    assert (moments.mutual_information >= 0).all()


def test_what_moments_cannot_do_is_refused(key):
    x = jnp.ones((2, 3))
    tanh = dq.BayesByBackpropMLP(3, (4,), 1, activation="tanh", rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="Expected member 1 to be an affine layer or a ReLU"):
        dq.predict_vi_uq(tanh, x, method="moments")
    with pytest.raises(ValueError, match="Expected model to have propagate"):
        dq.predict_vi_uq(dq.bayesianize((lambda w, x: x @ w, jnp.ones((3, 1)))), x, method="moments")
    with pytest.raises(ValueError, match="Expected method to be 'vi' or 'moments'; got 'exact'"):
        dq.predict_vi_uq(tanh, x, key=key, method="exact")
    classifier = dq.BayesByBackpropMLP(3, (), 2, likelihood=dq.Categorical(), rngs=nnx.Rngs(0))
    with pytest.raises(TypeError, match="Expected key"):
        dq.predict_vi_uq(classifier, x, method="moments")


@pytest.mark.parametrize("estimator", [dq.weight_sampling, dq.local_reparameterization, dq.flipout])
def test_opposite_draws_cancel_terms_linear_in_the_noise(estimator, key):
    layer = dq.BayesianLinear(3, 2, estimator=estimator, sigma_init=0.5, rngs=nnx.Rngs(0))
    x = jax.random.normal(key, (4, 3))

    def linear(outputs, y):
        return outputs.sum(axis=1)

    options = dict(key=key, num_data=4, log_likelihood=linear, kl_weight=0.0, mc_samples=2)
    loss, _ = dq.negative_elbo(layer, x, jnp.zeros(4), antithetic=True, **options)
    np.testing.assert_allclose(loss, -jnp.mean(linear(layer(x), None)), rtol=1e-5)
    plain, _ = dq.negative_elbo(layer, x, jnp.zeros(4), **options)
    assert abs(plain - loss) > 1e-3
    result = dq.predict_vi_uq(dq.Sequential(layer), x, key=key, n_samples=4, antithetic=True)
    np.testing.assert_allclose(result.mean, layer(x), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_antithetic_draws_go_through_fit_and_refuse_what_they_cannot_do(key):
    layer = dq.BayesianLinear(2, 1, rngs=nnx.Rngs(0))
    x, y = jnp.ones((4, 2)), jnp.ones((4, 1))

    def fitted(antithetic):
        return dq.fit(
            layer,
            x,
            y,
            key=key,
            objective=dq.ELBO(log_likelihood=dq.Gaussian(0.1), mc_samples=2, antithetic=antithetic),
            epochs=2,
        )

    assert fitted(True).history["loss"][0] != fitted(False).history["loss"][0]
    with pytest.raises(ValueError, match="Expected the number of draws to be even with antithetic=True; got 1"):
        dq.negative_elbo(layer, x, y, key=key, num_data=4, log_likelihood=dq.Gaussian(0.1), antithetic=True)
    with pytest.raises(ValueError, match="neither noise nor antithetic=True with method='moments'; got antithetic"):
        dq.predict_vi_uq(layer, x, method="moments", antithetic=True)
    dropout = dq.Sequential(layer, nnx.Dropout(0.5, rngs=nnx.Rngs(1)))
    with pytest.raises(ValueError, match="no dropout, for antithetic draws"):
        dq.predict_vi_uq(dropout, x, key=key, n_samples=2, antithetic=True)


def test_an_uncertain_input_passes_through_a_layer_with_its_exact_moments(x64):
    """The variance of W z + b holds Var W E[z]^2, Var z E[W]^2, Var W Var z and Var b."""
    layer = dq.BayesianLinear(3, 2, sigma_init=0.5, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    mean, var = jnp.array([[0.5, -1.0, 2.0]]), jnp.array([[0.25, 1.0, 4.0]])
    kernel, bias = layer.kernel_posterior, layer.bias_posterior
    w_mean, w_var = np.asarray(kernel.mu), np.asarray(kernel.sigma) ** 2
    exact = (np.asarray(mean) ** 2) @ w_var + np.asarray(var) @ (w_mean**2) + np.asarray(var) @ w_var
    exact += np.asarray(bias.sigma) ** 2
    out_mean, out_var = layer.propagate(mean, var)
    np.testing.assert_allclose(out_mean, np.asarray(mean) @ w_mean + np.asarray(bias.mu), rtol=1e-12)
    np.testing.assert_allclose(out_var, exact, rtol=1e-12)
