"""The Gaussian functions and their derivatives, against 60-digit arithmetic."""

import mpmath as mp
import pytest
import torch

from deepuq_torch.functional import (
    gaussian_kl,
    gaussian_log_prob,
    log_sigma,
    normal_log_prob,
    reparameterize,
    rho_from_sigma,
    sigma_from_rho,
)
from deepuq_torch.tests.exact import RATIOS, RHOS, exact_kl, exact_sigma, near, sigmoid
from deepuq_torch.tests.tolerances import CLOSED_FORM, CONDITIONING_ULPS, INVERSE_ULPS

DTYPES = [torch.float32, torch.float64]


def value_and_gradient(function, values, dtype):
    point = torch.tensor(values, dtype=dtype, requires_grad=True)
    result = function(point)
    (gradient,) = torch.autograd.grad(result.sum(), point)
    return point.tolist(), result.tolist(), gradient.tolist()


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigma_and_its_gradient_are_right_over_the_whole_range(dtype):
    tiny = torch.finfo(dtype).tiny
    rtol = CLOSED_FORM[dtype]
    for rho, value, gradient in zip(*value_and_gradient(sigma_from_rho, RHOS, dtype), strict=True):
        assert near(value, exact_sigma(rho), rtol, floor=tiny), rho
        assert near(gradient, sigmoid(rho), rtol, floor=tiny), rho


@pytest.mark.parametrize("dtype", DTYPES)
def test_log_sigma_is_right_where_sigma_underflows(dtype):
    rtol = CLOSED_FORM[dtype]
    for rho, value, gradient in zip(*value_and_gradient(log_sigma, RHOS, dtype), strict=True):
        # Near sigma = 1 the logarithm is near zero, and its error is a few ulp of 1.
        assert near(value, mp.log(exact_sigma(rho)), rtol, floor=4 * torch.finfo(dtype).eps), rho
        assert near(gradient, sigmoid(rho) / exact_sigma(rho), rtol), rho


@pytest.mark.parametrize("function", [sigma_from_rho, log_sigma])
def test_second_derivatives_are_finite(function):
    point = torch.tensor(RHOS, requires_grad=True)
    (first,) = torch.autograd.grad(function(point).sum(), point, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), point)
    assert torch.isfinite(second).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_rho_from_sigma_is_the_inverse(dtype):
    sigma = torch.logspace(-36, 36, 721, dtype=dtype)
    rho = rho_from_sigma(sigma)
    ulps = (sigma_from_rho(rho) / sigma - 1).abs() / torch.finfo(dtype).eps
    # Above sigma = 1, rho grows like sigma itself, and its conditioning is 1.
    allowed = INVERSE_ULPS * torch.where(sigma < 1, rho.abs().clamp_min(1.0), 1.0)
    assert (ulps <= allowed).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_rho_from_sigma_has_the_right_value_and_gradient(dtype):
    sigmas = [1e-37, 1e-10, 1e-3, 0.05, 0.5, 0.7, 1.0, 5.0, 50.0, 1000.0]
    for sigma, value, gradient in zip(*value_and_gradient(rho_from_sigma, sigmas, dtype), strict=True):
        expected = mp.log(mp.expm1(mp.mpf(sigma)))
        # Near sigma = log 2 the value is near zero, and its error is a few ulp of 1.
        assert near(value, expected, CLOSED_FORM[dtype], floor=4 * torch.finfo(dtype).eps), sigma
        assert near(gradient, -1 / mp.expm1(-mp.mpf(sigma)), CLOSED_FORM[dtype]), sigma


def kl_cases(dtype):
    """Yield (mu, rho, prior_mu, prior_sigma), exact in the dtype."""
    for prior_sigma in (0.1, 1e-6, 1.0, 30.0):
        sp = torch.tensor(prior_sigma, dtype=dtype)
        for rho in RHOS:
            if not (rho > 100 and prior_sigma < 1e-3):  # exp(2 r) is beyond float32 there
                yield 0.3, rho, 0.1, sp.item()
        for ratio in RATIOS:
            rho = rho_from_sigma(sp * ratio).item()
            yield 0.0, rho, 0.0, sp.item()


@pytest.mark.parametrize("dtype", DTYPES)
def test_kl_is_right_at_the_extremes_and_near_the_prior(dtype):
    eps, rtol = torch.finfo(dtype).eps, CLOSED_FORM[dtype]
    for case in kl_cases(dtype):
        mu, rho, prior_mu = (torch.tensor(number, dtype=dtype) for number in case[:3])
        mu.requires_grad_(), rho.requires_grad_()
        got = gaussian_kl(mu, rho, prior_mu, case[3])
        by_mu, by_rho = torch.autograd.grad(got, (mu, rho))
        value, exact_by_mu, exact_by_rho, r = exact_kl(mu.item(), rho.item(), prior_mu.item(), case[3])
        slack = CONDITIONING_ULPS * eps
        assert got.item() >= 0.0, case
        # An error of eps in r moves the value by |exp(2 r) - 1| eps, and the slope by 2 exp(2 r) eps.
        assert near(got.item(), value, rtol, floor=slack * min(abs(mp.expm1(2 * r)), 1)), case
        assert near(by_mu.item(), exact_by_mu, rtol), case
        dr = sigmoid(rho.item()) / exact_sigma(rho.item())
        assert near(by_rho.item(), exact_by_rho, rtol, floor=slack * dr), case


@pytest.mark.parametrize("dtype", DTYPES)
def test_kl_of_the_prior_itself_is_zero_to_rounding(dtype):
    sigma = torch.logspace(-6, 6, 500, dtype=dtype)
    kl = gaussian_kl(torch.zeros_like(sigma), rho_from_sigma(sigma), 0.0, sigma)
    assert (kl >= 0).all()
    # r = log(sigma_q / sigma_p) is off by the rounding of rho, about |rho| ulps, and the KL is about r^2.
    r = INVERSE_ULPS * torch.finfo(dtype).eps * rho_from_sigma(sigma).abs().clamp_min(1.0)
    assert (kl <= torch.maximum(r.square(), torch.finfo(dtype).eps * r)).all()


def test_kl_near_the_prior_keeps_the_digits_that_the_textbook_form_loses():
    prior_sigma = 0.1
    rho = rho_from_sigma(torch.tensor(prior_sigma * 1.0001))
    value = exact_kl(0.0, rho.item(), 0.0, torch.tensor(prior_sigma).item())[0]
    sigma = sigma_from_rho(rho)
    textbook = torch.log(prior_sigma / sigma) + sigma**2 / (2 * prior_sigma**2) - 0.5
    assert abs(textbook.item() / value - 1) > 0.5
    assert abs(gaussian_kl(torch.zeros(()), rho, 0.0, prior_sigma).item() / value - 1) < 5e-3


@pytest.mark.parametrize("prior_sigma", [1e-12, 1e12, 1e19])
def test_kl_and_gradients_under_extreme_priors(prior_sigma):
    """The ratios under- or overflow float32, but the KL does not."""
    rho = torch.tensor([-1000.0, -100.0, -60.0, -40.0, -39.9], requires_grad=True)
    kl = gaussian_kl(torch.zeros(5), rho, 0.0, prior_sigma)
    (gradient,) = torch.autograd.grad(kl.sum(), rho)
    for one, got, slope in zip(rho.tolist(), kl.tolist(), gradient.tolist(), strict=True):
        value, _, exact_slope, _ = exact_kl(0.0, one, 0.0, prior_sigma)
        assert near(got, value, CLOSED_FORM[rho.dtype]), one
        assert near(slope, exact_slope, CLOSED_FORM[rho.dtype]), one


@pytest.mark.parametrize("dtype", DTYPES)
def test_log_prob_matches_high_precision(dtype):
    for rho in [-1000.0, -30.0, -3.0, 0.0, 5.0, 1000.0]:
        for offset in (0.0, 1e-3, 2.0):
            if rho < -20 and offset:  # the density underflows to exp(-inf)
                continue
            mu, w = torch.tensor(0.25, dtype=dtype), torch.tensor(0.25 + offset, dtype=dtype)
            scale = torch.tensor(rho, dtype=dtype, requires_grad=True)
            got = gaussian_log_prob(w, mu, scale)
            (gradient,) = torch.autograd.grad(got, scale)
            d, s = mp.mpf(w.item()) - mp.mpf(mu.item()), exact_sigma(rho)
            expected = -((d / s) ** 2) / 2 - mp.log(s) - mp.log(2 * mp.pi) / 2
            slope = (d**2 / s**3 - 1 / s) * sigmoid(rho)
            # The terms may cancel, so the error is relative to the largest of them.
            size = max((d / s) ** 2 / 2, abs(mp.log(s)), 1)
            assert near(got.item(), expected, 0, floor=CLOSED_FORM[dtype] * size), (rho, offset)
            assert near(gradient.item(), slope, 0, floor=CLOSED_FORM[dtype] * max(abs(slope), 1)), (
                rho,
                offset,
            )
            if rho > -20:
                by_sigma = normal_log_prob(w, mu, sigma_from_rho(scale.detach()))
                assert near(by_sigma.item(), expected, 0, floor=CLOSED_FORM[dtype] * size)


def test_normal_log_prob_agrees_with_torch_distributions():
    w = torch.randn(50, dtype=torch.float64)
    expected = torch.distributions.Normal(w.new_tensor(0.3), w.new_tensor(0.7)).log_prob(w)
    torch.testing.assert_close(normal_log_prob(w, 0.3, 0.7), expected, rtol=CLOSED_FORM[w.dtype], atol=0)


def test_short_dtypes_are_computed_in_float32_and_draws_keep_theirs():
    mu = torch.tensor([0.5, -1.0], dtype=torch.bfloat16)
    rho = torch.tensor([-3.0, 2.0], dtype=torch.bfloat16)
    for function in (sigma_from_rho, log_sigma):
        assert function(rho).dtype == torch.float32
        assert torch.equal(function(rho), function(rho.float()))
    assert gaussian_kl(mu, rho, 0.0, 0.1).dtype == torch.float32
    noise = torch.tensor([1.0, -2.0], dtype=torch.bfloat16)
    drawn = reparameterize(mu, rho, noise)
    assert drawn.dtype == torch.bfloat16
    assert torch.equal(drawn, reparameterize(mu.float(), rho.float(), noise.float()).bfloat16())
