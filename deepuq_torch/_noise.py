"""Standard normal noise as data.

The noise for a pass of a model is the result of its ``draw_noise``: a tensor for a posterior, a pair ``(eps_weight,
eps_bias)`` for a layer, a tuple of such pairs for a network. It is drawn in the documented order. The noise of several
draws has the same structure, with a leading axis of draws on every tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ._checks import fault

LayerNoise: TypeAlias = "tuple[Tensor, Tensor]"
# Recursive: a tensor, or a sequence of noises.
Noise: TypeAlias = "Tensor | Sequence[Any]"


def standard_normal_like(value: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw noise of this tensor's shape, dtype and device, in a single call."""
    if torch.compiler.is_compiling():
        # torch.compile would replace randn by its own generator, which is several times slower on a CPU and draws
        # different numbers, and it merges equal calls of torch.normal. The in-place method draws the numbers of randn.
        # It is not used elsewhere because vmap refuses it.
        return torch.empty(value.shape, dtype=value.dtype, device=value.device).normal_(generator=generator)
    if generator is None and value.is_contiguous():  # randn_like would draw in the order of any other memory layout
        return torch.randn_like(value)
    return torch.randn(value.shape, generator=generator, dtype=value.dtype, device=value.device)


def one_source(noise: object, generator: object) -> None:
    """Refuse noise together with a generator, which would be ignored."""
    if noise is not None and generator is not None:
        raise ValueError(fault("noise and generator", "not to be given together", "both"))


def as_sequence(name: str, noise: object, length: int, of: str) -> Sequence[Any]:
    """Require noise that is a sequence of this length."""
    if not isinstance(noise, (tuple, list)):
        raise TypeError(fault(name, f"to be a tuple or list, one member per {of}", type(noise).__name__))
    if len(noise) != length:
        raise ValueError(fault(name, f"to have {length} members, one for each {of}", len(noise)))
    return noise


def stack_noise(draws: Sequence[Noise]) -> Noise:
    """Stack the noise of several draws.

    Args:
        draws: results of ``draw_noise``, one per draw; at least one.

    Returns:
        noise for the ``noise=`` of the objectives and of ``predict_vi_uq``: the structure of a draw, with a leading
        axis of draws on every tensor.

    Raises:
        ValueError: there are no draws, or their shapes differ.
        TypeError: a draw is neither a tensor nor a tuple or list of the same length as the first.

    Example:
        >>> pair = (torch.zeros(2, 3), torch.zeros(2))
        >>> [tuple(eps.shape) for eps in stack_noise([pair, pair, pair])]
        [(3, 2, 3), (3, 2)]
    """
    if not isinstance(draws, (tuple, list)):
        raise TypeError(fault("draws", "to be a sequence of noises", type(draws).__name__))
    if len(draws) == 0:
        raise ValueError(fault("draws", "to hold the noise of at least one draw", 0))
    first = draws[0]
    if isinstance(first, Tensor):
        if not all(isinstance(draw, Tensor) and draw.shape == first.shape for draw in draws):
            raise ValueError(fault("draws", "to hold tensors of one shape", "others beside a tensor"))
        return torch.stack(list(draws))  # type: ignore[arg-type]
    if not all(isinstance(draw, (tuple, list)) and len(draw) == len(first) for draw in draws):
        raise TypeError(fault("draws", "to hold tensors, or tuples of one length", type(first).__name__))
    return tuple(stack_noise([draw[i] for draw in draws]) for i in range(len(first)))


def take_draws(noise: Noise, index: int | slice) -> Noise:
    """Take a draw, or a slice of draws, from stacked noise."""
    if isinstance(noise, Tensor):
        return noise[index]
    return tuple(take_draws(member, index) for member in noise)


def check_draws(noise: object, count: int, counted_by: str) -> None:
    """Require a leading axis of ``count`` draws on every tensor."""
    if isinstance(noise, Tensor):
        if noise.ndim == 0 or noise.shape[0] != count:
            wanted = f"to have a leading axis of {counted_by} = {count} draws"
            raise ValueError(fault("noise", wanted, f"shape {tuple(noise.shape)}"))
    elif isinstance(noise, (tuple, list)):
        for member in noise:
            check_draws(member, count, counted_by)
    else:
        raise TypeError(fault("noise", "to be a tensor or a nested tuple or list of them", type(noise).__name__))
