"""Likelihoods, moments and entropies against independent computations."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import deepuq_jax as dq
from deepuq_jax import functional
from deepuq_jax.functional.counts import poisson_log_prob, stirling_error
from deepuq_jax.tests import tolerances
from deepuq_jax.tests.hostile.entries_functional import FUNCTIONAL


def test_categorical_is_the_log_of_the_chosen_probability(dtype):
    logits = np.random.default_rng(0).normal(scale=3, size=(7, 4)).astype(dtype)
    labels = np.array([0, 1, 2, 3, 0, 1, 2])
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    expected = (shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))[np.arange(7), labels]
    actual = functional.categorical_log_likelihood(jnp.asarray(logits), labels)
    np.testing.assert_allclose(actual, expected, rtol=tolerances.SUMS[dtype.name])


def test_categorical_gradient_is_one_hot_minus_softmax(dtype):
    logits = jnp.asarray(np.random.default_rng(1).normal(size=(5, 3)), dtype)
    labels = np.array([0, 2, 1, 1, 0])
    actual = jax.grad(lambda z: functional.categorical_log_likelihood(z, labels).sum())(logits)
    expected = np.eye(3)[labels] - np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(actual, expected, atol=tolerances.SUMS[dtype.name])


def test_categorical_sums_over_positions():
    logits = jnp.asarray(np.random.default_rng(2).normal(size=(4, 6, 3)), jnp.float32)
    labels = np.random.default_rng(3).integers(0, 3, (4, 6))
    whole = functional.categorical_log_likelihood(logits, labels)
    parts = sum(functional.categorical_log_likelihood(logits[:, i], labels[:, i]) for i in range(6))
    np.testing.assert_allclose(whole, parts, rtol=tolerances.SUMS["float32"])


def test_gaussian_likelihood_is_scipys(dtype):
    rng = np.random.default_rng(4)
    outputs, y = rng.normal(size=(2, 6, 3)).astype(dtype)
    expected = stats.norm.logpdf(y.astype(float), outputs.astype(float), 0.3).sum(axis=1)
    actual = functional.gaussian_log_likelihood(jnp.asarray(outputs), jnp.asarray(y), 0.3)
    np.testing.assert_allclose(actual, expected, rtol=tolerances.SUMS[dtype.name])
    mean, var = dq.Gaussian(0.3).moments(jnp.asarray(outputs))
    np.testing.assert_array_equal(mean, outputs)
    np.testing.assert_allclose(var, 0.09, rtol=tolerances.CLOSED_FORM[dtype.name])


def test_heteroscedastic_likelihood_is_scipys(dtype):
    rng = np.random.default_rng(5)
    outputs, y = rng.normal(size=(6, 4)).astype(dtype), rng.normal(size=(6, 2)).astype(dtype)
    sigma = np.sqrt(np.log1p(np.exp(outputs[:, 2:].astype(float))) + 1e-6)
    expected = stats.norm.logpdf(y.astype(float), outputs[:, :2].astype(float), sigma).sum(axis=1)
    actual = functional.heteroscedastic_log_likelihood(jnp.asarray(outputs), jnp.asarray(y))
    np.testing.assert_allclose(actual, expected, rtol=tolerances.SUMS[dtype.name])


def test_means_and_variances_of_a_single_example():
    mean, var = functional.split_mean_variance(jnp.asarray([1.0, -2.0, 0.0, 3.0]))
    np.testing.assert_array_equal(mean, [1.0, -2.0])
    np.testing.assert_allclose(var, np.log1p(np.exp([0.0, 3.0])) + 1e-6, rtol=1e-6)


def test_heteroscedastic_variance_keeps_its_floor():
    _, var = functional.split_mean_variance(jnp.array([[0.0, -1000.0]]))
    assert float(var[0, 0]) == pytest.approx(1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: functional.categorical_log_likelihood(jnp.zeros((2, 3)), np.zeros(2)), TypeError, "integer labels"),
        (
            lambda: functional.categorical_log_likelihood(jnp.zeros((2, 3)), np.array([0, 3])),
            ValueError,
            "0 to 2; got 0 to 3",
        ),
        (lambda: functional.categorical_log_likelihood(jnp.zeros((2, 3)), np.array([-1, 0])), ValueError, "-1 to 0"),
        (
            lambda: functional.categorical_log_likelihood(jnp.zeros((2, 3)), np.zeros((2, 1), int)),
            ValueError,
            "Expected y",
        ),
        (lambda: functional.categorical_log_likelihood(jnp.zeros(3), np.zeros(3, int)), ValueError, "logits"),
        (lambda: functional.gaussian_log_likelihood(jnp.zeros((2, 1)), np.zeros(2), 1.0), ValueError, "Expected y"),
        (lambda: functional.heteroscedastic_log_likelihood(jnp.zeros((2, 3)), np.zeros((2, 1))), ValueError, "2 d"),
        (lambda: functional.heteroscedastic_log_likelihood(jnp.zeros((2, 2)), np.zeros(2)), ValueError, "Expected y"),
        (lambda: dq.Gaussian(0.0), ValueError, "Expected sigma"),
        (lambda: dq.Gaussian(float("nan")), ValueError, "Expected sigma"),
        (lambda: dq.Gaussian(jnp.ones(())), TypeError, "Python number"),
        (lambda: dq.Gaussian("1"), TypeError, "Expected sigma"),
    ],
)
def test_bad_targets_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(("count", "hint"), [(2, r" Use y\[:, None\]\."), (3, "")])
def test_a_missing_axis_of_the_targets_is_named_where_it_would_help(count, hint):
    with pytest.raises(ValueError, match=rf"Expected y of shape \[2, 1\], .*got float32\[{count}\]\.{hint}$"):
        functional.gaussian_log_likelihood(jnp.zeros((2, 1)), np.zeros(count, np.float32), 1.0)


CALLS = [(name, argument) for name, entry in FUNCTIONAL.items() for argument in entry.hostile]


@pytest.mark.parametrize(("name", "argument"), CALLS)
def test_complex_arguments_are_refused(name, argument):
    entry = FUNCTIONAL[name]
    complex_array = np.ones((2, 2), np.complex64)
    with pytest.raises(TypeError, match=f"Expected .*({entry.words.get(argument, argument)})"):
        entry.call(**{**entry.valid, argument: complex_array})


@jax.jit
def stream_of(values, first, last):
    """Return the moments of `values[first:last]`; the bounds are traced, so one program serves every length."""
    empty = functional.empty_moments(values.shape[1:], values.dtype)
    return jax.lax.fori_loop(first, last, lambda i, moments: functional.update_moments(moments, values[i]), empty)


def stream(values):
    return stream_of(values, 0, len(values))


def padded(values):
    return jnp.asarray(np.pad(values, [(0, 40 - len(values)), (0, 0)]))


def test_stirlings_error_is_that_of_mpmath(x64):
    """Both forms are right: the direct one up to 16 and the series above."""
    z = np.asarray([0.5, 1.0, 3.0, 15.5, 16.5, 20.0, 1e3, 1e6])
    with mpmath.workdps(40):
        exact = [
            float(mpmath.loggamma(a + 1) - (a + 0.5) * mpmath.log(a) + a - mpmath.log(2 * mpmath.pi) / 2)
            for a in map(mpmath.mpf, z.tolist())
        ]
    np.testing.assert_allclose(stirling_error(jnp.asarray(z)), exact, rtol=0, atol=tolerances.CLOSED_FORM["float64"])


def test_under_jit_what_is_no_count_gives_nan():
    y = jnp.array([0.0, 3.0, -1.0, -0.5, 0.5])
    log_prob = np.asarray(jax.jit(poisson_log_prob)(jnp.zeros(5), y))
    np.testing.assert_array_equal(np.isnan(log_prob), [False, False, True, True, True])


@pytest.mark.slow
@given(st.integers(1, 40), st.integers(0, 2**31 - 1), st.floats(-1e3, 1e3, width=32))
def test_streaming_moments_are_the_moments(n, seed, centre):
    values = np.random.default_rng(seed).normal(centre, 2.0, (n, 3)).astype(np.float32)
    moments = stream_of(padded(values), 0, n)
    np.testing.assert_allclose(moments.mean, values.mean(axis=0, dtype=np.float64), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(functional.variance(moments), values.var(axis=0, dtype=np.float64), rtol=1e-3, atol=1e-5)


def test_a_small_spread_on_a_large_mean_survives_in_float32():
    values = np.random.default_rng(0).normal(100.0, 0.01, (1000, 1)).astype(np.float32)
    exact = values.astype(np.float64).var(axis=0)
    np.testing.assert_allclose(functional.variance(stream(jnp.asarray(values))), exact, rtol=1e-3)
    naive = (values**2).mean(axis=0) - values.mean(axis=0) ** 2
    assert abs(naive - exact)[0] > 0.1 * exact[0]


@pytest.mark.slow
@given(st.integers(0, 20), st.integers(1, 20))
def test_merging_two_streams_is_streaming_both(n, m):
    values = padded(np.random.default_rng(n * 100 + m).normal(5.0, 1.0, (n + m, 3)).astype(np.float32))
    merged = functional.merge_moments(stream_of(values, 0, n), stream_of(values, n, n + m))
    for a, b in zip(merged, stream_of(values, 0, n + m), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_entropy_is_scipys_and_takes_a_zero_probability(dtype):
    probs = np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [1 / 3] * 3]).astype(dtype)
    expected = stats.entropy(probs.astype(float), axis=1)
    rtol = tolerances.CLOSED_FORM[dtype.name]
    np.testing.assert_allclose(functional.entropy_of_probs(jnp.asarray(probs)), expected, rtol=rtol, atol=rtol)
    with np.errstate(divide="ignore"):
        log_probs = jnp.asarray(np.log(probs))
    np.testing.assert_allclose(functional.entropy(log_probs), expected, rtol=rtol, atol=rtol)
    assert np.isfinite(
        jax.grad(lambda z: functional.entropy(jax.nn.log_softmax(z)))(jnp.array([1e4, 0.0], dtype))
    ).all()
