"""Weights of several draws of a layer, in reused memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._posterior import GaussianPosterior


class WeightStack:
    """Stack of drawn weights.

    A layer's ``forward`` takes a stack in place of noise. The stack has no gradients. It computes sigma once, turns
    noise into weights in place, and keeps memory for the outputs: fresh memory for every chunk of draws costs more than
    the arithmetic of a small network.

    Args:
        weight: posterior of the weight ``[out, in]``.
        bias: posterior of the bias ``[out]``.
        draws: size of the stack.
        rows: rows of the layer's input.
    """

    def __init__(self, weight: GaussianPosterior, bias: GaussianPosterior, draws: int, rows: int):
        self.posteriors: tuple[GaussianPosterior, GaussianPosterior] = (weight, bias)
        self.sigmas: tuple[Tensor, Tensor] = (weight.sigma, bias.sigma)
        self.memory: list[Tensor] = [p.mu.new_empty(draws, *p.mu.shape) for p in self.posteriors]
        self.of_draw: list[tuple[Any, ...]] = list(zip(*(memory.unbind() for memory in self.memory), strict=True))
        self.output_memory: Tensor = bias.mu.new_empty(draws, rows, len(bias.mu))

    def draw_noise(self, draw: int, generator: torch.Generator | None) -> None:
        """Draw the noise of a draw, weight before bias.

        The numbers are those of the layer's own ``draw_noise``.
        """
        for memory in self.of_draw[draw]:
            memory.normal_(generator=generator)

    def noise_to_weights(self) -> None:
        """Compute ``w = mu + sigma * noise``, in place."""
        for memory, posterior, sigma in zip(self.memory, self.posteriors, self.sigmas, strict=True):
            torch.addcmul(posterior.mu, sigma, memory, out=memory)

    def __call__(self, x: Tensor) -> Tensor:
        """Compute ``x W^T + b``, ``[draws, rows, out]``.

        Args:
            x: ``[rows, in]`` or ``[draws, rows, in]``.
        """
        weight, bias = self.memory
        x = x.expand(len(weight), *x.shape[-2:])
        return torch.baddbmm(bias.unsqueeze(1), x, weight.mT, out=self.output_memory)
