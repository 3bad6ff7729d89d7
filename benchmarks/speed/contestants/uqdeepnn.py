"""uqdeepnn (imported as `deepuq`), the original: `vi_elbo_step` and `predict_vi_uq`."""

from __future__ import annotations

from functools import partial

from benchmarks.speed.contestant import Contestant, Predictor, Setting, Trainer, load
from benchmarks.speed.contestants import torch_parts as parts
from benchmarks.speed.contestants.deepuq_torch import documented_mlp, predict_documented
from benchmarks.speed.workloads import Predict, Train

PACKAGE, MODULE = "uqdeepnn", "deepuq"


def _train(work: Train, setting: Setting) -> Trainer:
    vi = load("deepuq.methods.vi")
    model = documented_mlp(vi, work.network, setting)
    criterion = partial(parts.criterion, work.network)

    def objective(x, y):
        # With num_batches set to the number of data, the loss is the negative ELBO per example.
        return vi.vi_elbo_step(
            model, x, y, num_batches=work.network.num_data, criterion=criterion, mc_samples=work.mc_samples
        )[0]

    return parts.loop(objective, model.parameters(), work, setting)


def _predict(work: Predict, setting: Setting) -> Predictor:
    return predict_documented(load("deepuq.methods.vi"), work, setting)


def contestants() -> list[Contestant]:
    """Eager, as published."""
    return [Contestant(PACKAGE, "", "torch", "eager", _train, _predict)]
