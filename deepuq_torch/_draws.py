"""Stochastic passes for prediction: batched over draws where that changes nothing, else one by one.

The noise is drawn in the documented order, draw by draw and tensor by tensor, whether or not passes are batched.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ._activations import ACTIVATION_TYPES
from ._last_layer import LastLayerVariationalInference
from ._layers import BayesianLinear
from ._mlp import BayesByBackpropMLP
from ._noise import Noise, stack_noise, take_draws
from ._posterior import GaussianPosterior
from ._regressors import (
    HeteroscedasticBayesByBackpropRegressor,
    HeteroscedasticMultiOutputBayesByBackpropRegressor,
    HomoscedasticBayesByBackpropRegressor,
    MultiOutputBayesByBackpropRegressor,
)

# Modules whose output is a function of input and noise and that vmap knows. Only exactly these: a subclass or a
# member put in by the user may do anything.
_PURE_TYPES = ACTIVATION_TYPES | {
    nn.ModuleList,
    GaussianPosterior,
    BayesianLinear,
    BayesByBackpropMLP,
    HeteroscedasticBayesByBackpropRegressor,
    HeteroscedasticMultiOutputBayesByBackpropRegressor,
    HomoscedasticBayesByBackpropRegressor,
    MultiOutputBayesByBackpropRegressor,
}
# Numbers that the weights and activations of a chunk of draws may take up. On a CPU they should stay in its cache; on
# an accelerator 2**24 are 64 MiB in float32. Fewer draws than the minimum do not repay the batching.
_CHUNK_NUMBERS = {"cpu": 2**20}
_CHUNK_NUMBERS_ELSEWHERE = 2**24
_CHUNK_MINIMUM = 8


@contextlib.contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Evaluation mode inside, and afterwards every submodule in the mode it was found in."""
    if not isinstance(model, nn.Module):
        yield
        return
    found = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in found:
            module.training = training


def output_chunks(
    model: Any, x: Any, n_samples: int, noise: Noise | None, generator: torch.Generator | None
) -> Iterator[Tensor]:
    """Outputs of so many stochastic passes, as chunks ``[draws, ...]``."""
    if isinstance(x, Tensor) and _is_pure(model):
        yield from _batched(model, x, n_samples, noise, generator)
    elif type(model) is LastLayerVariationalInference and not _has_hooks(model) and _is_pure(model.head):
        yield from _last_layer(model, x, n_samples, noise, generator)
    else:
        yield from _one_by_one(model, x, 0, n_samples, noise, generator)


def _one_by_one(
    model: Any, x: Any, start: int, stop: int, noise: Noise | None, generator: torch.Generator | None
) -> Iterator[Tensor]:
    extra = {} if generator is None else {"generator": generator}
    for draw in range(start, stop):
        if noise is not None:
            extra = {"noise": take_draws(noise, draw)}
        yield model(x, sample=True, **extra).unsqueeze(0)


def _batched(
    model: Any, x: Tensor, n_samples: int, noise: Noise | None, generator: torch.Generator | None
) -> Iterator[Tensor]:
    size = _chunk_size(model, x)
    if min(size, n_samples) < _CHUNK_MINIMUM:
        yield from _one_by_one(model, x, 0, n_samples, noise, generator)
        return
    passes: Callable[..., Any] = torch.func.vmap(lambda one: model(x, noise=one))
    for start in range(0, n_samples, size):
        stop = min(start + size, n_samples)
        if noise is not None:
            chunk = take_draws(noise, slice(start, stop))
        else:
            chunk = stack_noise([model.draw_noise(generator=generator) for _ in range(start, stop)])
        yield passes(chunk)


def _last_layer(
    model: LastLayerVariationalInference,
    x: Any,
    n_samples: int,
    noise: Noise | None,
    generator: torch.Generator | None,
) -> Iterator[Tensor]:
    """The features once, the head for every draw; unless the extractor turns out to draw random numbers itself."""
    before = _random_state(model)
    features = model.features(x)
    if all(torch.equal(old, new) for old, new in zip(before, _random_state(model), strict=True)):
        yield from _batched(model.head, features, n_samples, noise, generator)
        return
    # Each draw has features of its own. This first pass counts: its random numbers are spent.
    first = None if noise is None else take_draws(noise, 0)
    yield model.head(features, noise=first, generator=generator).unsqueeze(0)
    yield from _one_by_one(model, x, 1, n_samples, noise, generator)


def _random_state(model: nn.Module) -> list[Tensor]:
    """The states of the default generators that a pass of this model could draw from."""
    devices = {parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"}
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state(device) for device in devices)]


def _is_pure(model: Any) -> bool:
    if not isinstance(model, nn.Module) or type(model) is GaussianPosterior:
        return False
    return all(type(module) in _PURE_TYPES for module in model.modules()) and not _has_hooks(model)


def _has_hooks(model: nn.Module) -> bool:
    """A hook, or a forward put on one instance, expects to be called once a draw, on ordinary tensors."""
    return any(m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m) for m in model.modules())


def _chunk_size(model: nn.Module, x: Tensor) -> int:
    weights = sum(parameter.numel() for parameter in model.parameters()) // 2
    rows = x.numel() // max(x.shape[-1], 1) if x.ndim > 0 else 1
    width = max(m.out_features for m in model.modules() if isinstance(m, BayesianLinear))
    return _CHUNK_NUMBERS.get(x.device.type, _CHUNK_NUMBERS_ELSEWHERE) // (weights + rows * width)
