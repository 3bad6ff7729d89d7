"""deepuq_torch: `negative_elbo` and `predict_vi_uq`, eager and compiled."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from benchmarks.speed.contestant import Contestant, Predictor, Setting, Trainer, Unsupported, load
from benchmarks.speed.contestants import torch_parts as parts
from benchmarks.speed.workloads import NOISE_SIGMA, PRIOR_SIGMA, Network, Predict, Train

PACKAGE = MODULE = "deepuq_torch"


def documented_mlp(module: Any, network: Network, setting: Setting) -> Any:
    """Make the `BayesByBackpropMLP` of a module at the start values.

    The module is that of deepuq_torch or of the original, which has the same class.
    """
    if network.is_convolutional:
        raise Unsupported("it has no convolution")
    sizes = [*network.input_shape, *(kernel[-1] for kernel in network.kernels)]
    model = module.BayesByBackpropMLP(sizes[0], sizes[1:-1], sizes[-1], prior_sigma=PRIOR_SIGMA)
    model.to(parts.device(setting))
    with torch.no_grad():
        for layer, (kernel, bias) in zip(parts.layers(model.layers), parts.means(network, setting), strict=True):
            for posterior, mu in ((layer.weight_posterior, kernel), (layer.bias_posterior, bias)):
                posterior.mu.copy_(mu)
                posterior.rho.fill_(parts.RHO)
    return model


def _train(work: Train, setting: Setting, compile: bool = False) -> Trainer:
    dq = load("deepuq_torch")
    model = documented_mlp(dq, work.network, setting)
    density = dq.functional.gaussian_log_likelihood(NOISE_SIGMA) if work.network.is_regression else None

    def objective(x, y):
        return dq.negative_elbo(
            model, x, y, num_data=work.network.num_data, log_likelihood=density, mc_samples=work.mc_samples
        )[0]

    if compile:
        objective = parts.compiled(objective)
    return parts.loop(objective, model.parameters(), work, setting)


def predict_documented(module: Any, work: Predict, setting: Setting, compile: bool = False) -> Predictor:
    """Predict by the `predict_vi_uq` of a module."""
    model, x = documented_mlp(module, work.network, setting), parts.inputs(work, setting)

    def moments(x):
        result = module.predict_vi_uq(model, x, n_samples=work.draws, apply_softmax=not work.network.is_regression)
        return result.mean, result.epistemic_var

    call = parts.compiled(moments) if compile else moments

    def predict():
        with parts.arithmetic(setting):
            return call(x)

    return predict


def _predict(work: Predict, setting: Setting, compile: bool = False) -> Predictor:
    return predict_documented(load(MODULE), work, setting, compile)


def contestants() -> list[Contestant]:
    """Eager and compiled."""
    train_compiled, predict_compiled = partial(_train, compile=True), partial(_predict, compile=True)
    return [
        Contestant(PACKAGE, "eager", "torch", "eager", _train, _predict),
        Contestant(PACKAGE, "compiled", "torch", "compiled", train_compiled, predict_compiled),
    ]
