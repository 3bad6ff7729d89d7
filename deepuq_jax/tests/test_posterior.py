"""Posteriors over a tensor and over a pytree."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import deepuq_jax as dq
from deepuq_jax.tests import tolerances


class UniformPrior:
    """A prior without a closed-form KL, with log p = 0 everywhere."""

    def log_prob(self, w):
        return jnp.zeros(())


def params():
    return {"w": jnp.arange(6.0).reshape(3, 2), "b": [jnp.ones(2), jnp.zeros(())]}


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=4), st.floats(2.0**-10, 10, width=32)
)
def test_init_puts_the_mean_at_the_params_and_sigma_where_asked(shapes, sigma):
    tree = [np.full(shape, i, np.float32) for i, shape in enumerate(shapes)]
    q = dq.MeanField.init(tree, sigma)
    for mean, leaf in zip(q.mean(), tree, strict=True):
        np.testing.assert_array_equal(mean, leaf)
    for leaf in q.sigma:
        np.testing.assert_allclose(leaf, sigma, rtol=tolerances.CLOSED_FORM["float32"])


def test_sigma_per_leaf():
    q = dq.MeanField.init(params(), {"w": 0.1, "b": [0.2, 0.3]})
    np.testing.assert_allclose(q.sigma["b"][1], 0.3, rtol=1e-5)
    np.testing.assert_allclose(q.sigma["w"], 0.1, rtol=1e-5)


def test_sample_from_noise_is_mu_plus_sigma_noise_and_equals_the_key_path(key):
    q = dq.MeanField.init(params(), 0.1)
    noise = q.draw_noise(key=key)
    drawn = q.sample(noise=noise)
    expected = jax.tree.map(lambda m, s, n: m + s * n, q.mu, q.sigma, noise)
    # Some versions of XLA multiply and add in a single rounding.
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-7), drawn, expected)
    jax.tree.map(np.testing.assert_array_equal, q.sample(key=key), drawn)


def test_leading_axes_are_independent_draws(key):
    q = dq.GaussianPosterior(jnp.zeros(3), jnp.zeros(3))
    draws = q.sample(key=key, shape=(4, 5))
    assert draws.shape == (4, 5, 3)
    assert np.unique(np.asarray(draws)).size == 60


def test_draws_have_the_posterior_law(key):
    q = dq.GaussianPosterior(jnp.array([1.0, -2.0]), dq.functional.rho_from_sigma(jnp.array([0.5, 3.0])))
    n = 20_000
    draws = np.asarray(q.sample(key=key, shape=(n,)), np.float64)
    errors = np.array([0.5, 3.0]) / np.sqrt(n)
    np.testing.assert_array_less(np.abs(draws.mean(axis=0) - q.mu), tolerances.STANDARD_ERRORS * errors)
    variance_errors = np.array([0.25, 9.0]) * np.sqrt(2 / n)
    np.testing.assert_array_less(abs(draws.var(axis=0) - [0.25, 9.0]), tolerances.STANDARD_ERRORS * variance_errors)
    assert stats.kstest((draws[:, 1] + 2) / 3, "norm").pvalue > 1e-3


def test_leaves_get_noise_of_their_own(key):
    q = dq.MeanField.init([jnp.zeros(4), jnp.zeros(4)], 1.0)
    a, b = q.sample(key=key)
    assert not np.isclose(a, b).any()


def test_log_prob_agrees_with_scipy(dtype):
    q = dq.MeanField.init({"a": jnp.ones(3, dtype), "b": jnp.zeros((), dtype)}, 0.5)
    w = {"a": jnp.array([0.0, 1.0, 2.0], dtype), "b": jnp.ones((), dtype)}
    expected = stats.norm.logpdf([0.0, 1.0, 2.0], 1.0, 0.5).sum() + stats.norm.logpdf(1.0, 0.0, 0.5)
    np.testing.assert_allclose(q.log_prob(w), expected, rtol=tolerances.CLOSED_FORM[dtype.name])


def test_kl_without_a_closed_form_needs_noise_and_is_taken_at_that_draw(key):
    q = dq.GaussianPosterior(jnp.zeros(3), jnp.zeros(3))
    with pytest.raises(dq.KeyRequiredError, match="no closed form"):
        q.kl(UniformPrior())
    np.testing.assert_allclose(q.kl(UniformPrior(), key=key), q.log_prob(q.sample(key=key)), rtol=1e-6)


def test_monte_carlo_kl_averages_to_the_closed_form(key):
    prior = dq.GaussianPrior(0.3, 0.7)

    class Density:
        log_prob = staticmethod(prior.log_prob)

    q = dq.GaussianPosterior(jnp.array([0.0, 1.0]), jnp.array([-1.0, 0.5]))
    estimates = np.asarray(jax.vmap(lambda k: q.kl(Density(), key=k))(jax.random.split(key, 4000)))
    error = estimates.std() / np.sqrt(estimates.size)
    assert abs(estimates.mean() - float(q.kl(prior))) < tolerances.STANDARD_ERRORS * error


def test_a_posterior_is_a_pytree_that_jit_grad_and_vmap_take(key):
    q = dq.MeanField.init(params(), 0.1)
    doubled = jax.tree.map(lambda leaf: 2 * leaf, q)
    assert isinstance(doubled, dq.MeanField)
    np.testing.assert_array_equal(doubled.mu["w"], 2 * q.mu["w"])
    grads = jax.jit(jax.grad(lambda q: q.kl(dq.GaussianPrior())))(q)
    np.testing.assert_allclose(grads.mu["w"], q.mu["w"] / 0.1**2, rtol=1e-5)
    stacked = jax.vmap(lambda s: dq.MeanField.init(params(), s))(jnp.array([0.1, 0.2]))
    assert stacked.mu["w"].shape == (2, 3, 2)
    kls = jax.vmap(lambda q: q.kl(dq.GaussianPrior()))(stacked)
    assert kls.shape == (2,)
    assert kls[0] != kls[1]


def test_placeholders_and_batched_leaves_pass_through_a_gaussian_posterior():
    q = dq.GaussianPosterior(jnp.zeros(3), jnp.zeros(3))
    stacked = dq.GaussianPosterior(jnp.zeros((2, 3)), jnp.zeros((2, 3)))
    sums = jax.vmap(lambda q: q.sigma + q.mu, in_axes=(dq.GaussianPosterior(0, 0),))(stacked)
    assert sums.shape == (2, 3)
    shapes = jax.eval_shape(lambda q: q, q)
    assert shapes.mu.shape == (3,)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: dq.GaussianPosterior(jnp.zeros(3), jnp.zeros(2)), ValueError, "Expected rho of the shape of mu"),
        (
            lambda: dq.GaussianPosterior(np.zeros(3, np.float32), np.zeros((3, 1), np.float32)),
            ValueError,
            "Expected rho",
        ),
        (
            lambda: dq.GaussianPosterior(jnp.zeros(3, int), jnp.zeros(3)),
            TypeError,
            "Expected mu to be a floating array",
        ),
        (lambda: dq.MeanField.init({"w": jnp.zeros(2, int)}), TypeError, r"params\['w'\]"),
        (lambda: dq.MeanField.init({"w": "weights"}), TypeError, "floating array"),
        (lambda: dq.MeanField.init(jnp.zeros(2), 0.0), ValueError, "Expected sigma"),
        (lambda: dq.MeanField.init(jnp.zeros(2), -1.0), ValueError, "Expected sigma"),
        (lambda: dq.MeanField.init(jnp.zeros(2), float("nan")), ValueError, "Expected sigma"),
        (lambda: dq.MeanField.init(jnp.zeros(2)).sample(), ValueError, "got neither"),
        (lambda: dq.MeanField.init(jnp.zeros(2)).sample(key=jax.random.key(0), noise=jnp.zeros(2)), ValueError, "both"),
        (lambda: dq.MeanField.init(jnp.zeros(2)).sample(key=7), TypeError, "Expected key"),
        (lambda: dq.MeanField.init(jnp.zeros((2, 1))).sample(noise=jnp.zeros(2)), ValueError, "Expected noise"),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
