"""Stochastic passes for prediction.

Draws are batched if that changes no result; otherwise they run one at a time. In both cases, the noise is drawn in the
documented order, draw by draw and tensor by tensor.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ._activations import ACTIVATION_TYPES
from ._checks import autocasts, floating_tensor, same_shape
from ._homoscedastic import HomoscedasticBayesByBackpropRegressor
from ._last_layer import LastLayerVariationalInference
from ._layers import BayesianLinear, bayesian_layers, check_features
from ._mlp import BayesByBackpropMLP
from ._noise import Noise, as_sequence, take_draws
from ._posterior import GaussianPosterior
from ._regressors import (
    HeteroscedasticBayesByBackpropRegressor,
    HeteroscedasticMultiOutputBayesByBackpropRegressor,
    MultiOutputBayesByBackpropRegressor,
)
from ._stack import WeightStack

# Modules whose output is a function of input and noise, elementwise apart from the Bayesian layers. Subclasses do not
# count: a subclass may do anything, and so may a member that the user has inserted.
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
# Largest number of weights and activations in a chunk of draws. On a CPU, they should fit into its cache. On an
# accelerator, 2**24 numbers take 64 MiB in float32.
_CHUNK_NUMBERS = {"cpu": 2**19}
_CHUNK_NUMBERS_ELSEWHERE = 2**24


@contextlib.contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Set evaluation mode, and restore every submodule's mode afterwards."""
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
    """Yield the outputs of the passes, in chunks ``[draws, ...]``."""
    # Autocast chooses the dtype of ordinary calls, but not that of calls that write into given memory.
    if isinstance(x, Tensor) and _is_pure(model) and not autocasts(x.device):
        yield from _stacked(model, x, n_samples, noise, generator)
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


def _stacked(
    model: Any, x: Tensor, n_samples: int, noise: Noise | None, generator: torch.Generator | None
) -> Iterator[Tensor]:
    """Run chunks of draws as a network of stacked weights."""
    layers = bayesian_layers(model.modules())
    single = model is layers[0]  # the noise of a layer is a pair, the noise of a network a sequence of pairs
    check_features(x, layers[0])
    rows = x.reshape(-1, x.shape[-1])
    size = min(_chunk_size(layers, len(rows)), n_samples)
    stacks: list[WeightStack] = []
    for start in range(0, n_samples, size):
        draws = min(size, n_samples - start)
        if draws < size or start == 0:  # the last chunk may be shorter
            stacks = [WeightStack(layer.weight_posterior, layer.bias_posterior, draws, len(rows)) for layer in layers]
        if noise is None:
            for draw in range(draws):  # the documented order: draw by draw, and tensor by tensor in each draw
                for stack in stacks:
                    stack.draw_noise(draw, generator)
        else:
            _copy_noise([noise] if single else noise, slice(start, start + draws), stacks)
        for stack in stacks:
            stack.noise_to_weights()
        outputs = model(rows, noise=stacks[0] if single else stacks)
        yield outputs.reshape(draws, *x.shape[:-1], outputs.shape[-1])


def _copy_noise(noise: Noise, draws: slice, stacks: Sequence[WeightStack]) -> None:
    """Check the caller's noise, and copy it into the stacks."""
    for pair, stack in zip(as_sequence("noise", noise, len(stacks), "Bayesian layer"), stacks, strict=True):
        for eps, memory in zip(as_sequence("noise", pair, 2, "tensor"), stack.memory, strict=True):
            chosen = floating_tensor("noise", eps)[draws]
            memory.copy_(same_shape("noise", chosen, memory.shape, "mu, once per draw"))


def _last_layer(
    model: LastLayerVariationalInference,
    x: Any,
    n_samples: int,
    noise: Noise | None,
    generator: torch.Generator | None,
) -> Iterator[Tensor]:
    """Compute the features once, and the head for every draw.

    If the extractor has drawn random numbers itself, it runs again for each further draw.
    """
    before = _random_state(model)
    features = model.features(x)
    if all(torch.equal(old, new) for old, new in zip(before, _random_state(model), strict=True)):
        yield from output_chunks(model.head, features, n_samples, noise, generator)
        return
    # The first pass counts as the first draw, since its random numbers are spent.
    first = None if noise is None else take_draws(noise, 0)
    yield model.head(features, noise=first, generator=generator).unsqueeze(0)
    yield from _one_by_one(model, x, 1, n_samples, noise, generator)


def _random_state(model: nn.Module) -> list[Tensor]:
    """Return the states of the default generators."""
    devices = {parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"}
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state(device) for device in devices)]


def _is_pure(model: Any) -> bool:
    if not isinstance(model, nn.Module) or type(model) is GaussianPosterior:
        return False
    if any(type(module) not in _PURE_TYPES for module in model.modules()) or _has_hooks(model):
        return False
    # A layer that is used twice, or a network inside a network, draws more often than it is listed here.
    drawn = [model] if isinstance(model, BayesianLinear) else model.bayesian_layers()  # type: ignore[operator]
    return bayesian_layers(model.modules()) == drawn


def _has_hooks(model: nn.Module) -> bool:
    """Return whether a module has hooks, or a ``forward`` that was assigned to the instance.

    Both expect one call per draw, on ordinary tensors.
    """
    return any(m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m) for m in model.modules())


def _chunk_size(layers: Sequence[BayesianLinear], rows: int) -> int:
    weights = sum(layer.in_features * layer.out_features for layer in layers)
    activations = rows * max(layer.out_features for layer in layers)
    return max(
        1,
        _CHUNK_NUMBERS.get(layers[0].weight_posterior.mu.device.type, _CHUNK_NUMBERS_ELSEWHERE)
        // (weights + activations),
    )
