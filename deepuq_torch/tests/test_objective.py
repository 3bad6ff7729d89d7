"""The formula of ``vi_elbo_step``, and the units of ``negative_elbo``."""

import math
import warnings

import pytest
import torch
from torch import nn

from deepuq_torch import (
    BayesByBackpropMLP,
    HeteroscedasticBayesByBackpropRegressor,
    MultiOutputBayesByBackpropRegressor,
    negative_elbo,
    vi_elbo_step,
)
from deepuq_torch.functional import (
    categorical_log_likelihood,
    gaussian_log_likelihood,
    heteroscedastic_gaussian_log_likelihood,
    stack_noise,
)
from deepuq_torch.tests.tolerances import CLOSED_FORM, STANDARD_ERRORS, SUMS

RTOL = SUMS[torch.float32]


class Foreign(nn.Module):
    """A model that fulfils the documented contract and no more, and counts the calls of its KL."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 2))
        self.kl_calls = 0

    def forward(self, x, sample=True):
        assert sample is True
        return x @ self.weight + torch.randn(1)

    def kl(self):
        self.kl_calls += 1
        return self.weight.square().sum()


@pytest.fixture
def data():
    torch.manual_seed(0)
    return torch.randn(8, 3), torch.randint(2, (8,)), torch.randn(8, 2)


def mlp():
    model = BayesByBackpropMLP(3, [5], 2)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.parametrize("mc_samples", [1, 5])
@pytest.mark.parametrize("kl_weight", [0.0, 0.25, torch.tensor(2.0)])
def test_the_step_is_the_documented_formula(data, mc_samples, kl_weight):
    x, labels, _ = data
    model = mlp()
    torch.manual_seed(3)
    loss, nll, kl = vi_elbo_step(model, x, labels, 7, None, None, kl_weight, mc_samples)
    torch.manual_seed(3)
    expected = sum(nn.functional.cross_entropy(model(x), labels) for _ in range(mc_samples)) / mc_samples
    torch.testing.assert_close(nll, expected.detach(), rtol=RTOL, atol=0)
    torch.testing.assert_close(kl, model.kl().detach() / 7, rtol=RTOL, atol=0)
    torch.testing.assert_close(loss, expected + kl_weight * model.kl() / 7, rtol=RTOL, atol=0)
    assert loss.requires_grad
    assert not nll.requires_grad
    assert not kl.requires_grad
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_any_model_with_forward_and_kl_works_and_its_kl_is_computed_once(data):
    x, labels, _ = data
    model = Foreign()
    vi_elbo_step(model, x, labels, num_batches=3, mc_samples=4)
    assert model.kl_calls == 1
    negative_elbo(model, x, labels, num_data=10, mc_samples=4)
    assert model.kl_calls == 2


def test_a_criterion_is_taken_as_given_even_where_it_broadcasts(data):
    x, _, targets = data
    seen = []

    def criterion(outputs, y):
        seen.append((outputs.shape, y.shape))
        return outputs.sum() * 0 + 4.0

    loss, nll, kl = vi_elbo_step(mlp(), x, targets[:, 0], num_batches=2, criterion=criterion, mc_samples=2)
    assert nll == 4.0
    assert torch.equal(loss.detach(), nll + kl)
    assert seen == [((8, 2), (8,))] * 2


def test_the_default_criterion_follows_the_task(data):
    x, labels, targets = data
    model = MultiOutputBayesByBackpropRegressor(3, 2, (4,))
    noise = model.draw_noise()
    step = vi_elbo_step(model, x, targets, num_batches=2, noise=stack_noise([noise]))
    torch.testing.assert_close(step[1], nn.functional.mse_loss(model(x, noise=noise), targets).detach())
    classifier = mlp()
    noise = classifier.draw_noise()
    step = vi_elbo_step(classifier, x, labels, num_batches=2, noise=stack_noise([noise]))
    expected = nn.functional.cross_entropy(classifier(x, noise=noise), labels)
    torch.testing.assert_close(step[1], expected.detach())


def test_cross_entropy_also_takes_class_probabilities_and_short_integers(data):
    x, labels, _ = data
    model = mlp()
    noise = stack_noise([model.draw_noise()])
    by_index = vi_elbo_step(model, x, labels, num_batches=2, noise=noise)
    one_hot = nn.functional.one_hot(labels, 2).float()
    by_probability = vi_elbo_step(model, x, one_hot, num_batches=2, noise=noise)
    torch.testing.assert_close(by_index[0], by_probability[0])
    assert torch.equal(vi_elbo_step(model, x, labels.int(), num_batches=2, noise=noise)[0], by_index[0])


def test_a_heteroscedastic_models_own_nll_overrides_the_criterion(data):
    x, _, targets = data
    model = HeteroscedasticBayesByBackpropRegressor(3, (4,), 2)
    noise = model.draw_noise()
    step = vi_elbo_step(model, x, targets, num_batches=2, criterion=nn.MSELoss(), noise=stack_noise([noise]))
    prediction = model(x, noise=noise)
    mean, variance = prediction[:, :2], nn.functional.softplus(prediction[:, 2:]) + 1e-6
    expected = (0.5 * ((targets - mean) ** 2 / variance + variance.log())).sum(-1).mean()
    torch.testing.assert_close(step[1], expected.detach())


def test_the_deprecated_alias_warns_where_it_is_used(data):
    x, labels, _ = data
    model = mlp()
    noise = stack_noise([model.draw_noise()])
    with pytest.warns(DeprecationWarning, match="n_batches.*deprecated") as caught:
        old = vi_elbo_step(model, x, labels, n_batches=4, noise=noise)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        new = vi_elbo_step(model, x, labels, num_batches=4, noise=noise)
        both = vi_elbo_step(model, x, labels, num_batches=4, n_batches=4, noise=noise)
    assert torch.equal(old[0], new[0])
    assert torch.equal(both[0], new[0])


def test_noise_given_equals_noise_drawn_for_both_objectives(data):
    x, labels, _ = data
    model = mlp()
    torch.manual_seed(2)
    noise = stack_noise([model.draw_noise() for _ in range(3)])
    calls = [
        lambda **how: vi_elbo_step(model, x, labels, num_batches=4, mc_samples=3, **how),
        lambda **how: negative_elbo(model, x, labels, num_data=40, mc_samples=3, **how),
    ]
    for call in calls:
        torch.manual_seed(2)
        drawn = call()[0]
        assert torch.equal(call(noise=noise)[0], drawn)
        assert torch.equal(call(generator=torch.Generator().manual_seed(2))[0], drawn)


@pytest.mark.parametrize("num_data", [100, 100.0, torch.tensor(100), torch.tensor(100.0)])
def test_negative_elbo_has_exact_units(data, num_data):
    x, labels, _ = data
    model = mlp()
    noise = [model.draw_noise() for _ in range(2)]
    stacked = stack_noise(noise)
    loss, nll, kl = negative_elbo(model, x, labels, num_data=num_data, kl_weight=0.5, mc_samples=2, noise=stacked)
    passes = [nn.functional.cross_entropy(model(x, noise=one), labels) for one in noise]
    torch.testing.assert_close(nll, (sum(passes) / 2).detach(), rtol=RTOL, atol=0)
    torch.testing.assert_close(kl, model.kl().detach(), rtol=RTOL, atol=0)
    torch.testing.assert_close(loss.detach(), nll + 0.5 * kl / 100, rtol=RTOL, atol=0)
    assert loss.requires_grad
    assert not nll.requires_grad
    assert not kl.requires_grad


def test_negative_elbo_is_the_documented_step_with_its_kl_weighted_by_one_over_the_batch(data):
    """The data are N = 40 examples in 5 batches of 8."""
    x, labels, _ = data
    model = mlp()
    noise = stack_noise([model.draw_noise()])
    exact = negative_elbo(model, x, labels, num_data=40, noise=noise)[0]
    remedied = vi_elbo_step(model, x, labels, num_batches=5, kl_weight=1 / 8, noise=noise)[0]
    torch.testing.assert_close(exact, remedied, rtol=RTOL, atol=0)


def test_negative_elbo_does_not_depend_on_how_the_data_are_batched(data):
    x, labels, _ = data
    model = mlp()
    noise = stack_noise([model.draw_noise()])

    def of(rows):
        return negative_elbo(model, x[rows], labels[rows], num_data=8, noise=noise)[0]

    halves = (of(slice(0, 4)) + of(slice(4, 8))) / 2
    torch.testing.assert_close(of(slice(0, 8)), halves, rtol=RTOL, atol=0)


def test_negative_elbo_bounds_the_evidence_of_a_conjugate_model():
    """At the exact posterior, the bound is tight on average over draws.

    The model has a single weight and known noise.
    """
    torch.manual_seed(0)
    n, prior_sigma, noise_sigma = 20, 1.5, 0.7
    y = 0.8 + noise_sigma * torch.randn(n, 1, dtype=torch.float64)
    model = BayesByBackpropMLP(1, [], 1, prior_sigma, dtype=torch.float64)
    layer = model.layers[0]
    x = torch.zeros(n, 1, dtype=torch.float64)  # only the bias matters
    precision = 1 / prior_sigma**2 + n / noise_sigma**2
    with torch.no_grad():
        layer.weight_posterior.rho.fill_(math.log(math.expm1(prior_sigma)))
        layer.bias_posterior.mu.fill_(y.sum().item() / noise_sigma**2 / precision)
        layer.bias_posterior.rho.fill_(math.log(math.expm1(precision**-0.5)))
    covariance = noise_sigma**2 * torch.eye(n) + prior_sigma**2 * torch.ones(n, n)
    evidence = torch.distributions.MultivariateNormal(torch.zeros(n).double(), covariance.double())
    log_evidence = evidence.log_prob(y[:, 0]).item()

    log_likelihood = gaussian_log_likelihood(noise_sigma)
    losses = [n * negative_elbo(model, x, y, num_data=n, log_likelihood=log_likelihood)[0].item() for _ in range(2000)]
    mean, error = torch.tensor(losses).mean().item(), torch.tensor(losses).std().item() / len(losses) ** 0.5
    assert abs(mean + log_evidence) < STANDARD_ERRORS * error


def test_likelihoods_include_their_constants():
    torch.manual_seed(0)
    mean, raw, y = (torch.randn(6, 2, dtype=torch.float64) for _ in range(3))
    std = (nn.functional.softplus(raw) + 1e-6).sqrt()
    expected = torch.distributions.Normal(mean, std).log_prob(y).sum(-1)
    got = heteroscedastic_gaussian_log_likelihood(torch.cat([mean, raw], -1), y)
    torch.testing.assert_close(got, expected, rtol=CLOSED_FORM[got.dtype], atol=0)
    for sigma in (0.3, torch.tensor(0.3).double(), torch.tensor([0.3, 2.0]).double()):
        expected = torch.distributions.Normal(mean, torch.as_tensor(sigma, dtype=torch.float64)).log_prob(y).sum(-1)
        got = gaussian_log_likelihood(sigma)(mean, y)
        torch.testing.assert_close(got, expected, rtol=CLOSED_FORM[got.dtype], atol=0)
    labels = torch.randint(2, (6,))
    expected = torch.distributions.Categorical(logits=mean).log_prob(labels)
    torch.testing.assert_close(categorical_log_likelihood(mean, labels), expected, rtol=1e-12, atol=0)


def test_the_default_likelihood_of_a_heteroscedastic_model_is_its_density(data):
    x, _, targets = data
    model = HeteroscedasticBayesByBackpropRegressor(3, (4,), 2)
    noise = stack_noise([model.draw_noise()])
    default = negative_elbo(model, x, targets, num_data=8, noise=noise)
    named = heteroscedastic_gaussian_log_likelihood
    given = negative_elbo(model, x, targets, num_data=8, log_likelihood=named, noise=noise)
    torch.testing.assert_close(default[0], given[0])
    # The model's own nll leaves out the constant, once per output.
    step = vi_elbo_step(model, x, targets, num_batches=1, noise=noise)
    torch.testing.assert_close(default[1], step[1] + 2 * 0.5 * math.log(2 * math.pi))


def test_outputs_may_be_anything_that_the_likelihood_understands(data):
    x, _, targets = data

    class Pair(nn.Module):
        def forward(self, x, sample=True):
            return x[:, :2], x[:, 2:]

        def kl(self):
            return torch.zeros(())

    def likelihood(outputs, y):
        return -(y - outputs[0]).square().sum(-1) * outputs[1].exp()[:, 0]

    nll = negative_elbo(Pair(), x, targets, num_data=8, log_likelihood=likelihood)[1]
    torch.testing.assert_close(nll, -likelihood((x[:, :2], x[:, 2:]), targets).mean())


def test_a_learned_noise_gets_a_gradient(data):
    x, _, targets = data
    log_noise = torch.zeros((), requires_grad=True)
    model = MultiOutputBayesByBackpropRegressor(3, 2, (4,))
    likelihood = gaussian_log_likelihood(log_noise.exp())
    negative_elbo(model, x, targets, num_data=8, log_likelihood=likelihood)[0].backward()
    assert log_noise.grad is not None
    assert log_noise.grad != 0
