"""The documented behaviour in plain torch.

The reference shares no code with the package. Its parameters are a flat state dict with the documented keys. Draws come
from torch's default generator in the documented order: weight before bias, layer by layer, draw by draw.
"""

import torch


def sigma(rho):
    return torch.log1p(torch.exp(rho))


def layer_names(params):
    return sorted({int(key.split(".")[1]) for key in params})


def tensor(params, layer, kind, sample):
    mu = params[f"layers.{layer}.{kind}_posterior.mu"]
    rho = params[f"layers.{layer}.{kind}_posterior.rho"]
    return mu + sigma(rho) * torch.randn(mu.shape) if sample else mu


def forward(params, x, sample=True):
    names = layer_names(params)
    for name in names:
        weight = tensor(params, name, "weight", sample)
        bias = tensor(params, name, "bias", sample)
        x = x @ weight.T + bias
        x = torch.relu(x) if name != names[-1] else x
    return x


def kl(params, prior_sigma=0.1, prior_mu=0.0):
    total = torch.zeros(())
    for key in params:
        if key.endswith(".mu"):
            mu, s = params[key], sigma(params[key.replace(".mu", ".rho")])
            ratio = torch.log(prior_sigma / s)
            total = total + (ratio + (s**2 + (mu - prior_mu) ** 2) / (2 * prior_sigma**2) - 0.5).sum()
    return total


def elbo_step(params, x, y, num_batches, criterion, kl_weight=1.0, mc_samples=1):
    nll = sum(criterion(forward(params, x), y) for _ in range(mc_samples)) / mc_samples
    scaled = kl(params) / num_batches
    return nll + kl_weight * scaled, nll, scaled


def predictive_moments(params, x, n_samples, apply_softmax=False):
    draws = torch.stack([forward(params, x) for _ in range(n_samples)])
    draws = draws.softmax(-1) if apply_softmax else draws
    return draws.mean(0), draws.var(0, unbiased=False)
