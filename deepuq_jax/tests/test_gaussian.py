"""Values and gradients of the Gaussian closed forms against 60 digits, in float32 and float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepuq_jax.functional import gaussian
from deepuq_jax.tests import reference, tolerances

RHO = np.concatenate([np.linspace(-1000, 1000, 81), np.linspace(-120, 120, 97), np.linspace(-4, 4, 65)])


def rhos(dtype):
    return RHO.astype(dtype)


def assert_close(actual, expected, dtype, rtol=None):
    """Check the relative error; below the smallest normal number, check the error relative to that number."""
    rtol = tolerances.CLOSED_FORM[dtype.name] if rtol is None else rtol
    actual = np.asarray(actual, np.float64)
    assert np.isfinite(actual).all()
    np.testing.assert_array_less(np.abs(actual - expected), rtol * np.abs(expected) + np.finfo(dtype).tiny)


def gradient(function, *args):
    return jax.jit(jax.vmap(jax.grad(function)))(*args)


def test_sigma_and_its_gradient_hold_over_the_whole_range(dtype):
    rho = rhos(dtype)
    assert_close(jax.jit(gaussian.sigma_from_rho)(rho), reference.sigma_from_rho(rho), dtype)
    assert_close(gradient(gaussian.sigma_from_rho, rho), reference.sigma_gradient(rho), dtype)


def test_sigma_is_right_down_to_the_smallest_normal_number(dtype):
    rho = np.log(np.finfo(dtype).tiny) + np.array([0.01, 0.1, 1.0], dtype)
    sigma = np.asarray(gaussian.sigma_from_rho(rho.astype(dtype)), np.float64)
    # Rounding rho gives it an error of half an ulp of |rho|, which exp would turn into a relative error. So the
    # reference gets the rounded rho.
    rtol = tolerances.CLOSED_FORM[dtype.name]
    np.testing.assert_allclose(sigma, reference.sigma_from_rho(rho.astype(dtype)), rtol=rtol)


def test_log_sigma_and_its_gradient_hold_where_sigma_underflows(dtype):
    rho = rhos(dtype)
    expected = reference.log_sigma(rho)
    # Near sigma = 1 the logarithm crosses 0, where an ulp of sigma is an absolute error.
    error = np.abs(np.asarray(gaussian.log_sigma(rho), np.float64) - expected)
    bound = tolerances.CLOSED_FORM[dtype.name] * np.abs(expected) + 4 * tolerances.ulp(dtype)
    np.testing.assert_array_less(error, bound)
    assert_close(gradient(gaussian.log_sigma, rho), reference.log_sigma_gradient(rho), dtype)


def test_rho_from_sigma_inverts_sigma(dtype):
    sigma = np.geomspace(1e-30, 1e3, 200).astype(dtype)
    rho = gaussian.rho_from_sigma(sigma)
    expected = reference.rho_from_sigma(sigma)
    error = np.abs(np.asarray(rho, np.float64) - expected)
    np.testing.assert_array_less(
        error, tolerances.ROUND_TRIP_ULP * tolerances.ulp(dtype) * np.maximum(1, abs(expected))
    )
    back = np.asarray(gaussian.sigma_from_rho(rho), np.float64)
    bound = tolerances.ROUND_TRIP_ULP * tolerances.ulp(dtype) * np.maximum(1, np.abs(expected)) * sigma
    np.testing.assert_array_less(np.abs(back - sigma), bound)
    assert_close(gradient(gaussian.rho_from_sigma, sigma), reference.rho_gradient(sigma), dtype)


def kl_cases(dtype):
    ratio = np.geomspace(1e-6, 1e6, 61)
    prior_sigma = np.array([1e-3, 0.1, 1.0, 30.0])
    ratio, prior_sigma = map(np.ravel, np.meshgrid(ratio, prior_sigma))
    sigma = ratio * prior_sigma
    rho = sigma + np.log(-np.expm1(-sigma))
    mu = np.linspace(-2, 2, sigma.size)
    return [a.astype(dtype) for a in (mu, rho, mu * 0.5, prior_sigma)]


def kl_bound(expected, rho, prior_sigma, dtype):
    """Return the larger of the closed-form tolerance and a few ulp times the conditioning of the scale ratio."""
    log_ratio = reference.log_scale_ratio(rho, prior_sigma)
    condition = tolerances.KL_CONDITIONING_ULP * tolerances.ulp(dtype) * np.maximum(1, np.abs(rho))
    # The scales' part is about log_ratio^2, so a relative error condition/|log_ratio| is condition * |log_ratio|.
    near = np.where(np.abs(log_ratio) < 0.5, condition * np.abs(log_ratio) + condition**2, 0.0)
    return tolerances.CLOSED_FORM[dtype.name] * np.abs(expected) + near


def test_kl_and_its_gradients_over_twelve_decades_of_scale(dtype):
    case = kl_cases(dtype)
    expected = reference.gaussian_kl(*case)
    actual = np.asarray(jax.jit(gaussian.gaussian_kl)(*case), np.float64)
    np.testing.assert_array_less(np.abs(actual - expected), kl_bound(expected, case[1], case[3], dtype) + 1e-300)
    by_mu = jax.vmap(jax.grad(gaussian.gaussian_kl, 0))(*case)
    by_rho = np.asarray(jax.vmap(jax.grad(gaussian.gaussian_kl, 1))(*case), np.float64)
    # mu - prior_mu is exact (prior_mu = mu / 2), so the gradient by mu is one division.
    assert_close(by_mu, reference.kl_gradient_mu(*case), dtype)
    exact = reference.kl_gradient_rho(*case)
    sigma = reference.sigma_from_rho(case[1])
    slack = tolerances.KL_CONDITIONING_ULP * tolerances.ulp(dtype) * np.maximum(1, np.abs(case[1]))
    slope = reference.sigma_gradient(case[1]) * (sigma / case[3].astype(np.float64) ** 2 + 1 / sigma)
    assert np.isfinite(by_rho).all()
    np.testing.assert_array_less(np.abs(by_rho - exact), slack * slope)


@pytest.mark.parametrize("offset", [1e-2, -1e-2, 1e-3, -1e-3, 1e-4, 1e-6, -1e-6])
def test_kl_near_the_prior_keeps_its_digits(dtype, offset):
    """In float32, the textbook form has no correct digit here."""
    prior_sigma = np.array([0.05, 0.1, 1.0, 3.0], dtype)
    sigma = prior_sigma.astype(np.float64) * (1 + offset)
    rho = (sigma + np.log(-np.expm1(-sigma))).astype(dtype)
    expected = reference.gaussian_kl(0.0, rho, 0.0, prior_sigma)
    actual = np.asarray(gaussian.gaussian_kl(np.zeros(4, dtype), rho, 0.0, prior_sigma), np.float64)
    assert (actual >= 0).all()
    np.testing.assert_array_less(np.abs(actual - expected), kl_bound(expected, rho, prior_sigma, dtype) + 1e-300)


def test_kl_of_the_prior_from_itself_is_zero_to_rounding(dtype):
    sigma = np.geomspace(1e-6, 1e3, 50).astype(dtype)
    rho = np.asarray(gaussian.rho_from_sigma(sigma))
    kl = np.asarray(gaussian.gaussian_kl(sigma, rho, sigma, sigma))
    # sigma is recovered within a few ulp times |rho|, and the KL is the square of this error.
    bound = (tolerances.ROUND_TRIP_ULP * tolerances.ulp(dtype) * np.maximum(1, np.abs(rho))) ** 2
    assert (kl >= 0).all()
    np.testing.assert_array_less(kl, bound)


def test_kl_is_finite_with_finite_gradients_at_the_extremes(dtype):
    rho = np.array([-1000.0, -100.0, 0.0, 100.0, 1000.0], dtype)
    mu = np.zeros(5, dtype)
    half = np.full(5, 0.5, dtype)  # At a scale of 1, a missing logarithm would not show.
    assert_close(gaussian.gaussian_kl(mu, rho, mu, half), reference.gaussian_kl(mu, rho, mu, half), dtype)
    by_rho = jax.vmap(jax.grad(gaussian.gaussian_kl, 1))(mu, rho, mu, half)
    assert_close(by_rho, reference.kl_gradient_rho(mu, rho, mu, half), dtype)


@given(
    mu=st.floats(-10, 10, width=32),
    rho=st.floats(-30, 30, width=32),
    prior_mu=st.floats(-10, 10, width=32),
    prior_sigma=st.floats(2.0**-10, 8.0, width=32),
)
def test_kl_is_never_negative_and_right_for_any_numbers(mu, rho, prior_mu, prior_sigma):
    args = [np.float32(a) for a in (mu, rho, prior_mu, prior_sigma)]
    actual = float(gaussian.gaussian_kl(*args))
    expected = float(reference.gaussian_kl(*args))
    assert actual >= 0
    # The difference mu - prior_mu is rounded, which adds two ulp of the larger number to the error of its square.
    cancelled = 4 * tolerances.ulp(np.float32) * max(abs(mu), abs(prior_mu)) * abs(mu - prior_mu) / prior_sigma**2
    bound = kl_bound(expected, args[1], args[3], np.dtype("float32")) + cancelled + 1e-30
    assert abs(actual - expected) <= bound


def test_log_prob_matches_and_survives_a_vanished_sigma(dtype):
    x = np.linspace(-3, 3, 50).astype(dtype)
    sigma = np.geomspace(1e-3, 1e2, 50).astype(dtype)
    expected = reference.gaussian_log_prob(x, 0.5, sigma)
    # x - mu is exact to an ulp of the larger number, and is squared over sigma^2.
    error = np.abs(np.asarray(gaussian.gaussian_log_prob(x, dtype.type(0.5), sigma), np.float64) - expected)
    np.testing.assert_array_less(error, tolerances.CLOSED_FORM[dtype.name] * (np.abs(expected) + 1))
    gone = jax.value_and_grad(lambda w: gaussian.gaussian_log_prob(w, 1.0, 0.0, -1000.0))(1.0)
    assert float(gone[0]) == pytest.approx(1000.0 - gaussian.HALF_LOG_2PI)
    assert float(gone[1]) == 0.0


def test_low_precision_is_lifted_to_float32():
    rho = jnp.asarray([-3.0], jnp.bfloat16)
    assert gaussian.sigma_from_rho(rho).dtype == jnp.float32
    assert gaussian.gaussian_kl(rho, rho, 0.0, 1.0).dtype == jnp.float32
    assert gaussian.log_sigma(rho).dtype == jnp.float32


def test_reparameterize_refuses_noise_that_would_broadcast():
    with pytest.raises(ValueError, match="Expected noise"):
        gaussian.reparameterize(jnp.zeros((3, 1)), jnp.ones((3, 1)), jnp.zeros(3))
