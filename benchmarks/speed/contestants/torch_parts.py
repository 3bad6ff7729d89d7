"""Shared parts of the torch contestants: data, the plain network, Bayesian stacks, the training loop."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.speed.contestant import Predictor, Setting, Trainer, Unsupported
from benchmarks.speed.workloads import (
    CONV_PADDING,
    CONV_STRIDE,
    LEARNING_RATE,
    NOISE_SIGMA,
    POSTERIOR_SIGMA,
    Network,
    Predict,
    Train,
)

RHO = math.log(math.expm1(POSTERIOR_SIGMA))


def device(setting: Setting) -> torch.device:
    """The device of a setting's tensors."""
    return torch.device("cuda" if setting.backend == "gpu" else "cpu")


def means(network: Network, setting: Setting) -> list[tuple[Tensor, Tensor]]:
    """Initial posterior means, with kernels in torch's layout.

    Kernels are [out, in] or [out, in, height, width].
    """

    def kernel(k):
        return torch.from_numpy(k.T.copy() if k.ndim == 2 else k.transpose(3, 2, 0, 1).copy())

    return [(kernel(k).to(device(setting)), torch.from_numpy(b).to(device(setting))) for k, b in network.means()]


def _tensors(network: Network, rows: int, setting: Setting) -> tuple[Tensor, Tensor]:
    x, y = map(torch.from_numpy, network.data(rows))
    if network.is_convolutional:
        x = x.permute(0, 3, 1, 2).contiguous()
    if not network.is_regression:
        y = y.long()
    return x.to(device(setting)), y.to(device(setting))


def inputs(work: Predict, setting: Setting) -> Tensor:
    """Inputs of a prediction."""
    return _tensors(work.network, work.inputs, setting)[0]


def forward(weights: Iterable[tuple[Tensor, Tensor]], x: Tensor) -> Tensor:
    """Outputs [batch, outputs] of the plain network."""
    weights = list(weights)
    for i, (kernel, bias) in enumerate(weights):
        if kernel.ndim == 4:
            x = F.conv2d(x, kernel, bias, CONV_STRIDE, CONV_PADDING)
        else:
            x = F.linear(pool(x), kernel, bias)
        if i < len(weights) - 1:
            x = F.relu(x)
    return x


def pool(x: Tensor) -> Tensor:
    """Average [batch, channels, height, width] over positions; return [batch, features] unchanged."""
    return x if x.ndim == 2 else x.mean(dim=(2, 3))


class Pool(nn.Module):
    """`pool` as a module."""

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels]."""
        return pool(x)


class Net(nn.Module):
    """The plain network as a module of `nn.Linear` and `nn.Conv2d`."""

    def __init__(self, network: Network, setting: Setting):
        super().__init__()
        self.stack = stack(network, nn.Linear, functools.partial(nn.Conv2d, stride=CONV_STRIDE, padding=CONV_PADDING))
        self.to(device(setting))
        with torch.no_grad():
            for layer, (kernel, bias) in zip(layers(self.stack), means(network, setting), strict=True):
                layer.weight.copy_(kernel)
                layer.bias.copy_(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [batch, outputs]."""
        return self.stack(x)


def stack(network: Network, linear: Callable, conv: Callable | None = None) -> nn.Sequential:
    """A stack of layers with ReLU between them.

    `linear(in, out)` and `conv(in, out, size)` make the layers.
    """
    members: list[nn.Module] = []
    for shape in network.kernels:
        if len(shape) == 4:
            if conv is None:
                raise Unsupported("it has no convolution")
            members.append(conv(shape[2], shape[3], shape[:2]))
        else:
            members += [Pool()] if network.is_convolutional else []
            members.append(linear(*shape))
        members.append(nn.ReLU())
    return nn.Sequential(*members[:-1])


def layers(model: nn.Module) -> list[Any]:
    """The members of a stack that hold weights, in order."""
    return [member for member in model.children() if next(member.parameters(), None) is not None]


def criterion(network: Network, outputs: Tensor, y: Tensor) -> Tensor:
    """Mean negative log-likelihood over the batch, nats."""
    if network.is_regression:
        z = (y - outputs) / NOISE_SIGMA
        return 0.5 * (z * z).mean() + math.log(NOISE_SIGMA * math.sqrt(2 * math.pi))
    return F.cross_entropy(outputs, y)


def adam(parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """Fused Adam, the fastest form on CPU and GPU alike."""
    return torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)


def batches(work: Train, setting: Setting) -> Any:
    """Cycle through an epoch's batches, cut in advance."""
    x, y = _tensors(work.network, work.batch * work.steps, setting)
    return itertools.cycle(list(zip(x.split(work.batch), y.split(work.batch), strict=True)))


def arithmetic(setting: Setting) -> Any:
    """Autocast for bfloat16, else an empty context."""
    if setting.precision == "bfloat16":
        return torch.autocast(device(setting).type, torch.bfloat16)
    return contextlib.nullcontext()


def loop(
    objective: Callable[[Tensor, Tensor], Tensor], parameters: Iterable[Tensor], work: Train, setting: Setting
) -> Trainer:
    """Train by Adam on objective(x, y) -> loss; the losses are stacked after the loop."""
    optimizer, data = adam(list(parameters)), batches(work, setting)

    def run(steps: int) -> Tensor:
        losses = []
        for x, y in itertools.islice(data, steps):
            optimizer.zero_grad()
            with arithmetic(setting):
                loss = objective(x, y)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses)

    return run


def compiled(function: Callable) -> Callable:
    """Compile a function by `torch.compile`.

    Raises:
        Unsupported: if torch's backend cannot build on this machine.
    """
    reason = _no_compiler()
    if reason:
        raise Unsupported(f"torch.compile cannot build here: {reason}")
    torch._dynamo.reset()  # each function has a recompilation limit, and workloads share functions
    return torch.compile(function)


@functools.cache
def _no_compiler() -> str:
    """The reason why inductor cannot build, or an empty string."""
    try:
        torch.compile(lambda x: torch.sin(x) + 1)(torch.ones(2))
    except Exception as error:  # the toolchain may raise anything
        return str(error).strip().splitlines()[0]
    return ""


def moments(network: Network, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance over draws of the outputs, or of class probabilities; draws are the first axis."""
    values = draws if network.is_regression else torch.softmax(draws, dim=-1)
    return values.mean(dim=0), values.var(dim=0, unbiased=False)


def predict_by_loop(model: Callable[[Tensor], Tensor], work: Predict, setting: Setting) -> Predictor:
    """Predict by one pass per draw, as in the examples of these packages."""
    x = inputs(work, setting)

    def predict():
        with torch.inference_mode(), arithmetic(setting):
            return moments(work.network, torch.stack([model(x) for _ in range(work.draws)]).float())

    return predict
