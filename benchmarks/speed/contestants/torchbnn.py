"""torchbnn: `BayesLinear`, `BayesConv2d` and `BKLLoss`."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch

from benchmarks.speed.contestant import Contestant, Predictor, Setting, Trainer, load
from benchmarks.speed.contestants import torch_parts as parts
from benchmarks.speed.workloads import (
    CONV_PADDING,
    CONV_STRIDE,
    POSTERIOR_SIGMA,
    PRIOR_SIGMA,
    Network,
    Predict,
    Train,
)

PACKAGE = MODULE = "torchbnn"


def _model(network: Network, setting: Setting) -> Any:
    found = load("torchbnn")
    conv = partial(found.BayesConv2d, 0.0, PRIOR_SIGMA, stride=CONV_STRIDE, padding=CONV_PADDING)
    model = parts.stack(network, partial(found.BayesLinear, 0.0, PRIOR_SIGMA), conv).to(parts.device(setting))
    with torch.no_grad():
        for layer, (kernel, bias) in zip(parts.layers(model), parts.means(network, setting), strict=True):
            layer.weight_mu.copy_(kernel)
            layer.bias_mu.copy_(bias)
            for log_sigma in (layer.weight_log_sigma, layer.bias_log_sigma):
                log_sigma.fill_(math.log(POSTERIOR_SIGMA))
    return model


def _train(work: Train, setting: Setting) -> Trainer:
    model, network = _model(work.network, setting), work.network
    kl = load("torchbnn").BKLLoss(reduction="sum")

    def objective(x, y):
        nll = sum(parts.criterion(network, model(x), y) for _ in range(work.mc_samples)) / work.mc_samples
        return nll + kl(model).squeeze() / network.num_data

    return parts.loop(objective, model.parameters(), work, setting)


def _predict(work: Predict, setting: Setting) -> Predictor:
    return parts.predict_by_loop(_model(work.network, setting), work, setting)


def contestants() -> list[Contestant]:
    """Eager, as published."""
    return [Contestant(PACKAGE, "", "torch", "eager", _train, _predict)]
