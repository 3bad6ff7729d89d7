"""Natural gradients: the formulas, the optimum, and another implementation."""

import numpy as np
import pytest
import torch
from torch import nn

from deepuq_torch import BayesianLinear, NaturalGradient, negative_elbo
from deepuq_torch._natural_step import precision_step
from deepuq_torch.functional import gaussian_log_likelihood, rho_from_sigma, sigma_from_rho
from deepuq_torch.tests import tolerances

NOISE, PRIOR_SIGMA, N, STEPS = 0.4, 1.0, 60, 200


def problem():
    """Return the data of a linear regression, the design matrix, and the best mean-field mean and sigma."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 3)) @ np.array([[1.0, 0.4, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 1.0]])
    y = x @ np.array([0.7, -0.4, 0.2]) + 0.3 + rng.normal(0, NOISE, N)
    design = np.column_stack([x, np.ones(N)])
    precision = design.T @ design / NOISE**2 + np.eye(4) / PRIOR_SIGMA**2
    mean = np.linalg.solve(precision, design.T @ y) / NOISE**2
    return torch.tensor(x), torch.tensor(y[:, None]), design, mean, 1 / np.sqrt(np.diag(precision))


def parameters(layer):
    """Return all means, and all standard deviations."""
    both = layer.weight_posterior, layer.bias_posterior
    mu, sigma = ([getattr(one, part).detach().flatten() for one in both] for part in ("mu", "sigma"))
    return torch.cat(mu).numpy(), torch.cat(sigma).numpy()


def linear():
    return BayesianLinear(3, 1, PRIOR_SIGMA, dtype=torch.float64)


def elbo(model, x, y, noise, **how):
    """Return the loss for a single draw, with its noise as one vector."""
    pair = (noise[:3].view(1, 1, 3), noise[3:].view(1, 1))
    return negative_elbo(model, x, y, num_data=N, log_likelihood=gaussian_log_likelihood(NOISE), noise=pair, **how)[0]


def averaging(step):
    """Return a decay that grows with the number of steps."""
    return 1.0 - 4.0 / (step + 2000.0)


def in_numpy(batches, noises, *, lr, beta1, beta2, mean_limit, precision_limit, kl_weight):
    """Train by the formulas, with sigma as the variable and gradients derived by hand."""
    _, y, design, _, _ = problem()
    mu, sigma, average = np.zeros(4), np.full(4, np.log1p(np.exp(-3.0))), np.zeros(4)
    for step, (rows, noise) in enumerate(zip(batches, noises, strict=True)):
        residual = y.numpy()[rows, 0] - design[rows] @ (mu + sigma * noise)
        by_weight = -(N / len(rows)) * residual @ design[rows] / NOISE**2 / max(kl_weight, 0.01)
        of_kl = min(kl_weight / 0.01, 1.0)
        by_mu = by_weight + of_kl * mu / PRIOR_SIGMA**2
        by_sigma = by_weight * noise + of_kl * (sigma / PRIOR_SIGMA**2 - 1 / sigma)
        a = np.clip((1 - beta2(step)) * sigma * by_sigma, -precision_limit, precision_limit)
        sigma = (sigma**-2 * (1 + a + a**2 / 2)) ** -0.5
        average = beta1 * average + (1 - beta1) * by_mu
        change = lr * average / (1 - beta1 ** (step + 1)) * sigma**2
        mu = mu - np.clip(change, -mean_limit * sigma, mean_limit * sigma)
    return mu, sigma


@pytest.mark.parametrize("kl_weight", [1.0, 0.3, 0.001])
@pytest.mark.parametrize(
    "how",
    [
        {"mean_limit": float("inf"), "precision_limit": float("inf")},
        {"mean_limit": 0.05, "precision_limit": 0.02},
        {"mean_limit": 0.3, "precision_limit": 0.1, "beta1": 0.0, "beta2": lambda step: 0.995},
    ],
    ids=["no limits", "limits", "no momentum"],
)
def test_the_formulas(how, kl_weight):
    how = {"lr": 0.05, "beta1": 0.9, "beta2": averaging, **how}
    x, y, *_ = problem()
    rng = np.random.default_rng(1)
    batches, noises = [rng.permutation(N)[:20] for _ in range(STEPS)], rng.normal(size=(STEPS, 4))
    model = linear()
    optimizer = NaturalGradient(model, num_data=N, **how)
    for rows, noise in zip(batches, torch.tensor(noises), strict=True):
        optimizer.zero_grad()
        elbo(model, x[rows], y[rows], noise, kl_weight=kl_weight).backward()
        optimizer.step(kl_weight=kl_weight)
    for got, expected in zip(parameters(model), in_numpy(batches, noises, kl_weight=kl_weight, **how), strict=True):
        np.testing.assert_allclose(got, expected, rtol=tolerances.NATURAL_STEPS)


@pytest.mark.slow
def test_exact_gradients_lead_to_the_best_mean_field_posterior():
    """The loss is quadratic in the noise, so its mean over draws of +-sqrt(4) in four directions is exact."""
    x, y, _, mean, sigma = problem()
    points = 2.0 * torch.cat([torch.eye(4), -torch.eye(4)]).double()
    model = linear()
    optimizer = NaturalGradient(model, num_data=N, beta2=0.9)
    for _ in range(400):
        optimizer.zero_grad()
        torch.stack([elbo(model, x, y, noise) for noise in points]).mean().backward()
        optimizer.step()
    for got, expected in zip(parameters(model), (mean, sigma), strict=True):
        np.testing.assert_allclose(got, expected, rtol=tolerances.EXACT_OPTIMUM)


@pytest.mark.long
def test_training_on_draws_leads_to_the_best_mean_field_posterior():
    x, y, _, mean, sigma = problem()
    torch.manual_seed(0)
    model, steps = linear(), 800
    optimizer = NaturalGradient(model, num_data=N, beta2=1 - 4 / steps)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    density = gaussian_log_likelihood(NOISE)
    for _ in range(steps):
        optimizer.zero_grad()
        negative_elbo(model, x, y, num_data=N, log_likelihood=density, mc_samples=16)[0].backward()
        optimizer.step()
        schedule.step()
    mu, sd = parameters(model)
    np.testing.assert_array_less(np.abs(mu - mean) / sigma, tolerances.OPTIMUM_IN_SIGMAS)
    np.testing.assert_allclose(sd, sigma, rtol=tolerances.OPTIMUM_SIGMA)


@pytest.mark.slow
def test_without_momentum_and_limits_it_is_ivon():
    ivon = pytest.importorskip("ivon")
    x, y, *_ = problem()
    labels, hess, lr, beta2 = (y > 0.3).double(), 0.5, 0.1, 0.995
    weight_decay = 1 / (N * PRIOR_SIGMA**2)

    def log_likelihood(outputs, y):
        return -nn.functional.binary_cross_entropy_with_logits(outputs, y, reduction="none").sum(-1)

    model, free = linear(), {"mean_limit": float("inf"), "precision_limit": float("inf")}
    sigma = torch.tensor((N * (hess + weight_decay)) ** -0.5, dtype=torch.float64)
    for posterior in (model.weight_posterior, model.bias_posterior):
        nn.init.constant_(posterior.rho, rho_from_sigma(sigma).item())
    ours = NaturalGradient(model, lr, num_data=N, beta1=0.0, beta2=beta2, **free)
    means = [nn.Parameter(torch.zeros_like(one.mu)) for one in (model.weight_posterior, model.bias_posterior)]
    settings = dict(ess=N, hess_init=hess, beta1=0.0, beta2=beta2, weight_decay=weight_decay, rescale_lr=False)
    theirs = ivon.IVON(means, lr, **settings)
    for step in range(STEPS):
        torch.manual_seed(step)
        with theirs.sampled_params(train=True):
            theirs.zero_grad()
            (-log_likelihood(x @ means[0].T + means[1], labels).mean()).backward()
        theirs.step()
        torch.manual_seed(step)
        noise = torch.randn(4, dtype=torch.float64)
        pair = noise[:3].view(1, 1, 3), noise[3:].view(1, 1)
        ours.zero_grad()
        negative_elbo(model, x, labels, num_data=N, log_likelihood=log_likelihood, noise=pair)[0].backward()
        ours.step()
        mu, sd = parameters(model)
        expected = torch.cat([mean.detach().flatten() for mean in means]).numpy()
        precision = N * (theirs.param_groups[0]["hess"] + weight_decay).numpy()
        np.testing.assert_allclose(mu, expected, rtol=0, atol=tolerances.IVON * np.abs(expected).max())
        np.testing.assert_allclose(sd, precision**-0.5, rtol=tolerances.IVON)
    assert np.abs(mu).max() > 0.5  # it has learned something


@pytest.mark.parametrize("gradient", [1e3, -1e3, 0.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_change_of_rho_is_that_of_sigma_at_every_scale(dtype, gradient):
    rho = rho_from_sigma(torch.tensor([1e-12, 1e-3, 1.0, 8.0, 60.0, 1000.0], dtype=dtype))
    change, sigma = precision_step(rho, gradient * torch.ones_like(rho), 1.0, 0.1)
    rounding = 8 * torch.finfo(dtype).eps * rho.abs().clamp_min(1.0)
    assert ((sigma_from_rho(rho + change) / sigma - 1).abs() <= rounding).all()
    tail = torch.tensor([-1000.0, -200.0], dtype=dtype)  # sigma underflows to zero there
    change, _ = precision_step(tail, torch.ones_like(tail), 0.1, 0.5)
    expected = torch.full_like(tail, -0.5 * np.log(1.105))
    torch.testing.assert_close(change, expected, rtol=8 * torch.finfo(dtype).eps, atol=0)
