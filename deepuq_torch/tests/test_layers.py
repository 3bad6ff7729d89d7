"""Posterior, prior, layer and MLP: initial values, draws, noise, shapes and the KL."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepuq_torch import BayesByBackpropMLP, BayesianLinear, GaussianPosterior, GaussianPrior
from deepuq_torch.functional import gaussian_kl
from deepuq_torch.tests import reference
from deepuq_torch.tests.tolerances import STANDARD_ERRORS, SUMS

SIZES = st.integers(1, 6)


def test_start_values_and_state_dict_keys_are_the_documented_ones():
    state = BayesByBackpropMLP(3, [5, 4], 2).state_dict()
    kinds = ["weight_posterior.mu", "weight_posterior.rho", "bias_posterior.mu", "bias_posterior.rho"]
    assert list(state) == [f"layers.{i}.{kind}" for i in (0, 2, 4) for kind in kinds]
    assert [tuple(state[f"layers.{i}.weight_posterior.mu"].shape) for i in (0, 2, 4)] == [
        (5, 3),
        (4, 5),
        (2, 4),
    ]
    for key, value in state.items():
        assert torch.equal(value, torch.full_like(value, 0.0 if key.endswith("mu") else -3.0))


@pytest.mark.slow
@given(SIZES, st.lists(SIZES, max_size=3), SIZES, st.lists(st.integers(0, 4), max_size=2), st.booleans())
@settings(max_examples=40, deadline=None)
def test_any_sizes_give_the_outputs_that_plain_torch_gives(inputs, hidden, outputs, batch, sample):
    mlp = BayesByBackpropMLP(inputs, hidden, outputs)
    for parameter in mlp.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = torch.randn(*batch, inputs)
    torch.manual_seed(5)
    got = mlp(x, sample=sample)
    torch.manual_seed(5)
    expected = reference.forward(mlp.state_dict(), x, sample)
    assert got.shape == (*batch, outputs)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@given(SIZES, st.lists(SIZES, max_size=2).map(tuple), SIZES)
@settings(max_examples=20, deadline=None)
def test_noise_given_equals_noise_drawn(inputs, hidden, outputs):
    mlp = BayesByBackpropMLP(inputs, hidden, outputs)
    x = torch.randn(2, inputs)
    torch.manual_seed(1)
    noise = mlp.draw_noise()
    torch.manual_seed(1)
    assert torch.equal(mlp(x), mlp(x, noise=noise))
    assert [(tuple(w.shape), tuple(b.shape)) for w, b in noise] == [
        ((layer.out_features, layer.in_features), (layer.out_features,)) for layer in mlp.layers[::2]
    ]


def test_a_generator_draws_without_touching_the_default_one():
    mlp, x = BayesByBackpropMLP(3, [4], 2), torch.randn(5, 3)
    before = torch.get_rng_state()
    first = mlp(x, generator=torch.Generator().manual_seed(7))
    again = mlp(x, generator=torch.Generator().manual_seed(7))
    other = mlp(x, generator=torch.Generator().manual_seed(8))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    noise = mlp.draw_noise(generator=torch.Generator().manual_seed(7))
    assert torch.equal(mlp(x, noise=noise), first)


def test_a_generator_and_the_default_one_give_the_same_numbers_at_the_same_seed():
    layer, x = BayesianLinear(3, 2), torch.ones(1, 3)
    torch.manual_seed(11)
    expected = layer(x)
    assert torch.equal(layer(x, generator=torch.Generator().manual_seed(11)), expected)


def test_draws_have_the_stated_mean_and_standard_deviation():
    torch.manual_seed(0)
    n = 200_000
    posterior = GaussianPosterior(torch.full((n,), 0.7), torch.full((n,), -0.5))
    sigma = posterior.sigma[0].item()
    draws = posterior.sample().detach()
    assert abs(draws.mean().item() - 0.7) < STANDARD_ERRORS * sigma / n**0.5
    assert abs(draws.var().item() - sigma**2) < STANDARD_ERRORS * sigma**2 * (2 / n) ** 0.5


def test_sample_is_differentiable_in_mu_and_rho():
    posterior = GaussianPosterior(torch.zeros(3, dtype=torch.float64), torch.tensor([-2.0, 0.0, 2.0]).double())
    noise = torch.tensor([0.5, -1.0, 2.0]).double()
    posterior.sample(noise=noise).sum().backward()
    assert torch.equal(posterior.mu.grad, torch.ones(3).double())
    torch.testing.assert_close(posterior.rho.grad, noise * torch.sigmoid(posterior.rho.detach()))


def test_log_prob_is_the_sum_over_the_tensor():
    posterior = GaussianPosterior(torch.randn(4, 3), torch.randn(4, 3))
    w = torch.randn(4, 3)
    expected = torch.distributions.Normal(posterior.mu, posterior.sigma).log_prob(w).sum()
    torch.testing.assert_close(posterior.log_prob(w), expected)
    assert torch.isfinite(GaussianPosterior(torch.zeros(2), torch.full((2,), -1000.0)).log_prob(torch.zeros(2)))
    expected = torch.distributions.Normal(0.5, 2.0).log_prob(w).sum()
    torch.testing.assert_close(GaussianPrior(0.5, 2).log_prob(w), expected)


def test_kl_is_the_sum_over_weight_and_bias_of_every_layer():
    mlp = BayesByBackpropMLP(3, [4], 2, prior_sigma=0.5, prior_mu=0.2, dtype=torch.float64)
    for parameter in mlp.parameters():
        torch.nn.init.normal_(parameter)
    expected = reference.kl(mlp.state_dict(), 0.5, 0.2)
    torch.testing.assert_close(mlp.kl(), expected, rtol=SUMS[torch.float64], atol=0)
    layer = mlp.layers[0]
    parts = [layer.weight_posterior.kl(layer.prior), layer.bias_posterior.kl(layer.prior)]
    torch.testing.assert_close(layer.kl(), sum(parts))
    weight = layer.weight_posterior
    torch.testing.assert_close(parts[0], gaussian_kl(weight.mu, weight.rho, 0.2, 0.5).sum())


def test_kl_matches_torch_distributions():
    posterior = GaussianPosterior(torch.randn(20).double(), torch.randn(20).double())
    prior = GaussianPrior(0.3, 0.7)
    p = torch.distributions.Normal(posterior.mu.new_tensor(0.3), posterior.mu.new_tensor(0.7))
    q = torch.distributions.Normal(posterior.mu, posterior.sigma)
    expected = torch.distributions.kl_divergence(q, p).sum()
    torch.testing.assert_close(posterior.kl(prior), expected, rtol=SUMS[torch.float64], atol=0)


def test_the_kl_uses_a_prior_that_replaces_the_first_one():
    layer = BayesianLinear(3, 2)
    layer.prior = GaussianPrior(0.0, 0.7)
    assert torch.equal(layer.kl(), BayesianLinear(3, 2, 0.7).kl())


@pytest.mark.parametrize("hidden", [[], (), [4], (4, 5), iter([4])])
def test_hidden_dims_may_be_any_iterable(hidden):
    assert BayesByBackpropMLP(3, hidden, 2)(torch.ones(1, 3)).shape == (1, 2)


@pytest.mark.parametrize("prior_sigma", [1, 0.5, torch.tensor(0.5)])
def test_prior_sigma_may_be_any_real_number(prior_sigma):
    expected = BayesByBackpropMLP(3, [4], 2, float(prior_sigma)).kl()
    assert torch.equal(BayesByBackpropMLP(3, [4], 2, prior_sigma).kl(), expected)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("relu", torch.relu),
        ("gelu", torch.nn.functional.gelu),
        ("TANH", torch.tanh),
        ("silu", torch.nn.functional.silu),
    ],
)
def test_activations_by_name(name, function):
    mlp = BayesByBackpropMLP(3, [4], 2, activation=name)
    for parameter in mlp.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(5, 3)
    hidden, last = mlp.layers[0], mlp.layers[2]
    expected = last(function(hidden(x, sample=False)), sample=False)
    torch.testing.assert_close(mlp(x, sample=False), expected)
