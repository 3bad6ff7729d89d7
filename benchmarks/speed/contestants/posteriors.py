"""posteriors: `vi.diag` with torchopt's Adam, and the KL at the drawn weights."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch

from benchmarks.speed.contestant import Contestant, Predictor, Setting, Trainer, load
from benchmarks.speed.contestants import torch_parts as parts
from benchmarks.speed.workloads import LEARNING_RATE, POSTERIOR_SIGMA, PRIOR_SIGMA, Network, Predict, Train

PACKAGE = MODULE = "posteriors"


def _model(network: Network, setting: Setting) -> tuple[Any, Any]:
    """A function of parameters and inputs, and the parameters."""
    net = parts.Net(network, setting)
    return load("posteriors").model_to_function(net), {name: p.detach() for name, p in net.named_parameters()}


def _transform(work: Train, function: Any) -> Any:
    posteriors, network = load("posteriors"), work.network
    log_scale = math.log(PRIOR_SIGMA * math.sqrt(2 * math.pi))

    def log_posterior(params, batch):
        x, y = batch
        outputs = function(params, x)
        log_prior = sum((-0.5 * (p / PRIOR_SIGMA).square() - log_scale).sum() for p in params.values())
        return -parts.criterion(network, outputs, y) + log_prior / network.num_data, outputs

    return posteriors.vi.diag.build(
        log_posterior,
        load("torchopt").adam(lr=LEARNING_RATE),
        temperature=1 / network.num_data,
        n_samples=work.mc_samples,
        init_log_sds=math.log(POSTERIOR_SIGMA),
    )


def _train(work: Train, setting: Setting) -> Trainer:
    function, params = _model(work.network, setting)
    transform, data = _transform(work, function), parts.batches(work, setting)
    state = transform.init(params)

    def run(steps: int):
        nonlocal state
        losses = []
        for batch in itertools.islice(data, steps):
            with parts.arithmetic(setting):
                state, _ = transform.update(state, batch)
            losses.append(state.nelbo)
        return torch.stack(losses)

    return run


def _predict(work: Predict, setting: Setting) -> Predictor:
    function, params = _model(work.network, setting)
    diag, x = load("posteriors").vi.diag, parts.inputs(work, setting)
    state = diag.init(params, load("torchopt").adam(lr=LEARNING_RATE), init_log_sds=math.log(POSTERIOR_SIGMA))

    def predict():
        with torch.no_grad(), parts.arithmetic(setting):
            weights = diag.sample(state, torch.Size([work.draws]))
            outputs = torch.func.vmap(function, in_dims=(0, None))(weights, x)
            return parts.moments(work.network, outputs.float())

    return predict


def contestants() -> list[Contestant]:
    """The eager variant."""
    return [Contestant(PACKAGE, "vi.diag", "torch", "eager", _train, _predict, kl="sampled")]
