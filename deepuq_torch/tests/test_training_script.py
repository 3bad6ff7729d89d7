"""Training scripts, as users of the documented API write them.

Only the import names this package.
"""

import math

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from deepuq_torch.methods.vi import (
    BayesByBackpropMLP,
    HeteroscedasticBayesByBackpropRegressor,
    LastLayerVariationalInference,
    negative_elbo,
    predict_vi_uq,
    vi_elbo_step,
)

# Together, these tests take too long for `make check`.
pytestmark = pytest.mark.slow


def train(model, loader, epochs, lr=0.02, **how):
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    losses = []
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            loss, _, _ = vi_elbo_step(model, x, y, num_batches=len(loader), **how)
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    return losses


def test_regression(tmp_path):
    torch.manual_seed(0)
    x = torch.rand(128, 1) * 4 - 2
    y = torch.sin(2 * x) + 0.1 * torch.randn_like(x)
    loader = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True)
    model = BayesByBackpropMLP(1, [32], 1, prior_sigma=1.0)
    for layer in model.layers[::2]:
        torch.nn.init.normal_(layer.weight_posterior.mu, std=0.5)
    losses = train(model, loader, 120, criterion=torch.nn.MSELoss(), kl_weight=1e-3)
    assert losses[-1] < losses[0] / 3

    model.train()
    result = predict_vi_uq(model, x, n_samples=50, aleatoric_var=torch.tensor(0.01))
    assert model.training
    assert (result.mean - torch.sin(2 * x)).square().mean() < 0.05
    torch.testing.assert_close(result.total_var, result.epistemic_var + 0.01)
    outside = predict_vi_uq(model, torch.tensor([[6.0]]), n_samples=50)
    assert outside.epistemic_var > 3 * result.epistemic_var.mean()

    torch.save(model.state_dict(), tmp_path / "model.pt")
    restored = BayesByBackpropMLP(1, [32], 1, prior_sigma=1.0)
    restored.load_state_dict(torch.load(tmp_path / "model.pt"))
    torch.manual_seed(1)
    first = predict_vi_uq(model, x, n_samples=20)
    torch.manual_seed(1)
    second = predict_vi_uq(restored, x, n_samples=20)
    assert torch.equal(first.mean, second.mean)
    assert torch.equal(first.epistemic_var, second.epistemic_var)


def test_classification_from_the_documented_start():
    """The means start at zero, and the noise of the draws breaks the symmetry."""
    torch.manual_seed(0)
    y = torch.arange(120) % 3
    centres = torch.tensor([[0.0, 2.0], [2.0, -1.0], [-2.0, -1.0]])
    x = centres[y] + 0.4 * torch.randn(120, 2)
    loader = DataLoader(TensorDataset(x, y), batch_size=40, shuffle=True)
    model = BayesByBackpropMLP(2, [16], 3, prior_sigma=1.0)
    train(model, loader, 60, kl_weight=1 / 40, mc_samples=2)
    result = predict_vi_uq(model, x, n_samples=30, apply_softmax=True)
    assert (result.probs.argmax(-1) == y).float().mean() > 0.95
    torch.testing.assert_close(result.probs.sum(-1), torch.ones(120))
    assert (result.probs_var <= result.probs * (1 - result.probs) + 1e-6).all()


def test_the_old_count_still_trains():
    torch.manual_seed(0)
    x, y = torch.randn(16, 2), torch.randint(2, (16,))
    with pytest.warns(DeprecationWarning, match="n_batches"):
        loss, _, _ = vi_elbo_step(BayesByBackpropMLP(2, [4], 2), x, y, n_batches=4)
    loss.backward()


def test_heteroscedastic_regression_by_the_exact_objective_finds_the_noise():
    torch.manual_seed(0)
    x = torch.rand(512, 1) * 2 - 1
    std = torch.where(x > 0, 0.5, 0.05)
    y = x + std * torch.randn_like(x)
    model = HeteroscedasticBayesByBackpropRegressor(1, (16,), prior_sigma=1.0)
    for parameter in (model.hidden_layers[0].weight_posterior.mu, model.output_layer.weight_posterior.mu):
        torch.nn.init.normal_(parameter, std=0.5)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(400):
        optimizer.zero_grad()
        loss, _, _ = negative_elbo(model, x, y, num_data=512, mc_samples=2)
        loss.backward()
        optimizer.step()
    result = predict_vi_uq(model, torch.tensor([[-0.6], [0.6]]), n_samples=50)
    quiet, loud = result.aleatoric_var.sqrt().flatten().tolist()
    assert quiet < 0.2 < loud < 0.8
    assert math.isfinite(loss.item())


def test_last_layer_classification():
    torch.manual_seed(0)
    x = torch.randn(200, 2)
    y = (x[:, 0] * x[:, 1] > 0).long()
    backbone = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.Tanh())
    model = LastLayerVariationalInference(backbone, 32, 2, task="classification", prior_sigma=1.0)
    loader = DataLoader(TensorDataset(x, y), batch_size=100, shuffle=True)
    train(model, loader, 150, kl_weight=1 / 100)
    result = predict_vi_uq(model, x, n_samples=30)
    assert result.metadata["task"] == "classification"
    assert (result.probs.argmax(-1) == y).float().mean() > 0.9
