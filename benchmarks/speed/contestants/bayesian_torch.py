"""bayesian-torch: its reparameterization layers and the sum of their KL.

Its own `get_kl_loss` takes the mean over each tensor, which is not the KL of the ELBO.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.contestant import Contestant, Predictor, Setting, Trainer, load
from benchmarks.speed.contestants import torch_parts as parts
from benchmarks.speed.workloads import CONV_PADDING, CONV_STRIDE, PRIOR_SIGMA, Network, Predict, Train

PACKAGE, MODULE = "bayesian-torch", "bayesian_torch"


def _model(network: Network, setting: Setting) -> Any:
    found = load("bayesian_torch.layers")
    # `prior_variance` is used as a standard deviation.
    linear = partial(found.LinearReparameterization, prior_variance=PRIOR_SIGMA)
    conv = partial(found.Conv2dReparameterization, stride=CONV_STRIDE, padding=CONV_PADDING, prior_variance=PRIOR_SIGMA)
    model = parts.stack(network, linear, conv).to(parts.device(setting))
    with torch.no_grad():
        for layer, (kernel, bias) in zip(parts.layers(model), parts.means(network, setting), strict=True):
            layer.dnn_to_bnn_flag = True  # The layer then returns outputs alone, as in a network that it converted.
            for parameter, value in zip(_parameters(layer), (kernel, parts.RHO, bias, parts.RHO), strict=True):
                parameter.copy_(torch.as_tensor(value))
    return model


def _parameters(layer: Any) -> list[Tensor]:
    kind = "kernel" if hasattr(layer, "mu_kernel") else "weight"
    return [getattr(layer, f"mu_{kind}"), getattr(layer, f"rho_{kind}"), layer.mu_bias, layer.rho_bias]


def _kl(model: Any) -> Tensor:
    """The KL: the sum over tensors of the mean KL per weight times the number of weights."""
    total = torch.zeros((), device=next(model.parameters()).device)
    for layer in parts.layers(model):
        mu, rho, mu_bias, rho_bias = _parameters(layer)
        for mean, raw, prior in ((mu, rho, "weight"), (mu_bias, rho_bias, "bias")):
            prior_mu, prior_sigma = getattr(layer, f"prior_{prior}_mu"), getattr(layer, f"prior_{prior}_sigma")
            total = total + mean.numel() * layer.kl_div(mean, torch.log1p(torch.exp(raw)), prior_mu, prior_sigma)
    return total


def _train(work: Train, setting: Setting) -> Trainer:
    model, network = _model(work.network, setting), work.network

    def objective(x, y):
        nll = sum(parts.criterion(network, model(x), y) for _ in range(work.mc_samples)) / work.mc_samples
        return nll + _kl(model) / network.num_data

    return parts.loop(objective, model.parameters(), work, setting)


def _predict(work: Predict, setting: Setting) -> Predictor:
    return parts.predict_by_loop(_model(work.network, setting), work, setting)


def contestants() -> list[Contestant]:
    """Eager, as published."""
    return [Contestant(PACKAGE, "", "torch", "eager", _train, _predict)]
