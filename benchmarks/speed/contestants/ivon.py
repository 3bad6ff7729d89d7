"""ivon-opt: variational training by an optimizer that draws weights.

The optimizer replaces Adam and learns sigma from its estimate of the Hessian. A step therefore differentiates the
likelihood alone, without a KL, and updates half as many numbers: the same model and predictions for less work.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch

from benchmarks.speed.contestant import Contestant, Predictor, Setting, Trainer, load
from benchmarks.speed.contestants import torch_parts as parts
from benchmarks.speed.workloads import LEARNING_RATE, POSTERIOR_SIGMA, PRIOR_SIGMA, Network, Predict, Train

PACKAGE, MODULE = "ivon-opt", "ivon"


def _optimizer(network: Network, model: Any, mc_samples: int = 1) -> Any:
    """IVON at the common start, with N = ess.

    Its prior variance is 1 / (N weight_decay), and its sigma^2 is 1 / (N (hess + weight_decay)).
    """
    ess = network.num_data
    decay = 1 / (ess * PRIOR_SIGMA**2)
    start = 1 / (ess * POSTERIOR_SIGMA**2) - decay
    return load("ivon").IVON(
        model.parameters(), lr=LEARNING_RATE, ess=ess, hess_init=start, weight_decay=decay, mc_samples=mc_samples
    )


def _train(work: Train, setting: Setting) -> Trainer:
    model, data = parts.Net(work.network, setting), parts.batches(work, setting)
    optimizer = _optimizer(work.network, model, work.mc_samples)

    def run(steps: int):
        losses = []
        for x, y in itertools.islice(data, steps):
            total = torch.zeros((), device=x.device)
            for _ in range(work.mc_samples):
                with optimizer.sampled_params(train=True):
                    optimizer.zero_grad()
                    with parts.arithmetic(setting):
                        loss = parts.criterion(work.network, model(x), y)
                    loss.backward()
                total = total + loss.detach()
            optimizer.step()
            losses.append(total / work.mc_samples)
        return torch.stack(losses)

    return run


def _predict(work: Predict, setting: Setting) -> Predictor:
    model = parts.Net(work.network, setting)
    optimizer = _optimizer(work.network, model)

    def drawn(x):
        with optimizer.sampled_params():
            return model(x)

    return parts.predict_by_loop(drawn, work, setting)


def contestants() -> list[Contestant]:
    """Eager, as published."""
    return [Contestant(PACKAGE, "", "torch", "eager", _train, _predict, kl="none")]
