"""The floor of torch: the plain network, eager and compiled."""

from __future__ import annotations

from functools import partial

import torch

from benchmarks.speed.contestant import FLOOR, Contestant, Predictor, Setting, Trainer
from benchmarks.speed.contestants import torch_parts as parts
from benchmarks.speed.workloads import Predict, Train

PACKAGE, MODULE = FLOOR, "torch"


def _train(work: Train, setting: Setting, compile: bool = False) -> Trainer:
    model = parts.Net(work.network, setting)

    def objective(x, y):
        return parts.criterion(work.network, model(x), y)

    if compile:
        objective = parts.compiled(objective)
    return parts.loop(objective, model.parameters(), work, setting)


def _predict(work: Predict, setting: Setting, compile: bool = False) -> Predictor:
    model, x = parts.Net(work.network, setting), parts.inputs(work, setting)
    call = parts.compiled(model) if compile else model

    def passes():
        with torch.inference_mode(), parts.arithmetic(setting):
            total = call(x)
            for _ in range(work.draws - 1):
                total = total + call(x)
            return total / work.draws, torch.zeros_like(total)

    return passes


def contestants() -> list[Contestant]:
    """A floor for each style."""
    train_compiled, predict_compiled = partial(_train, compile=True), partial(_predict, compile=True)
    return [
        Contestant(FLOOR, "torch, eager", "torch", "eager", _train, _predict),
        Contestant(FLOOR, "torch, compiled", "torch", "compiled", train_compiled, predict_compiled),
    ]
