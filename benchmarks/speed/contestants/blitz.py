"""blitz-bayesian-pytorch: `sample_elbo` and `mfvi_forward`, with the KL at the drawn weights."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from benchmarks.speed.contestant import Contestant, Predictor, Setting, Trainer, load
from benchmarks.speed.contestants import torch_parts as parts
from benchmarks.speed.workloads import CONV_PADDING, CONV_STRIDE, PRIOR_SIGMA, Network, Predict, Train

PACKAGE, MODULE = "blitz-bayesian-pytorch", "blitz"


def _model(network: Network, setting: Setting, *last: nn.Module) -> Any:
    """The network, followed by `last`, as a `variational_estimator`."""
    found = load("blitz.modules")
    zero, sigma = (torch.tensor(value, device=parts.device(setting)) for value in (0.0, PRIOR_SIGMA))
    # A single Gaussian as the prior is cheaper than blitz's default, a mixture of two.
    options = dict(prior_dist=torch.distributions.Normal(zero, sigma))
    conv = partial(found.BayesianConv2d, stride=CONV_STRIDE, padding=CONV_PADDING, **options)
    stack = parts.stack(network, partial(found.BayesianLinear, **options), conv)
    model = load("blitz.utils").variational_estimator(type("Model", (nn.Sequential,), {}))(*stack, *last)
    model.to(parts.device(setting))
    with torch.no_grad():
        for layer, (kernel, bias) in zip(parts.layers(model), parts.means(network, setting), strict=True):
            for sampler, mu in ((layer.weight_sampler, kernel), (layer.bias_sampler, bias)):
                sampler.mu.copy_(mu)
                sampler.rho.fill_(parts.RHO)
    return model


def _train(work: Train, setting: Setting) -> Trainer:
    model, network = _model(work.network, setting), work.network
    criterion = partial(parts.criterion, network)

    def objective(x, y):
        weight = 1 / network.num_data
        return model.sample_elbo(x, y, criterion, work.mc_samples, complexity_cost_weight=weight)

    # blitz's layers register each weight twice; only the samplers' copies get a gradient.
    samplers = [s for layer in parts.layers(model) for s in (layer.weight_sampler, layer.bias_sampler)]
    return parts.loop(objective, [p for s in samplers for p in (s.mu, s.rho)], work, setting)


def _predict(work: Predict, setting: Setting) -> Predictor:
    last = [] if work.network.is_regression else [nn.Softmax(dim=-1)]
    model = _model(work.network, setting, *last)
    x = parts.inputs(work, setting)

    def predict():
        with torch.inference_mode(), parts.arithmetic(setting):
            mean, std = model.mfvi_forward(x, sample_nbr=work.draws)
            return mean, std.square() * ((work.draws - 1) / work.draws)

    return predict


def contestants() -> list[Contestant]:
    """Eager, as published."""
    return [Contestant(PACKAGE, "", "torch", "eager", _train, _predict, kl="sampled")]
