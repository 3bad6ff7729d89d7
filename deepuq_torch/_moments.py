"""Mean and variance over draws that come in chunks.

The memory does not grow with the number of draws.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ._gaussian import at_least_float32


class StreamingMoments:
    """Mean and biased variance over draws, merged chunk by chunk.

    Two passes over a chunk give its moments. The rule of Chan et al. merges them with the moments so far, and adds only
    squares of deviations: the variance of draws with mean 100 and standard deviation 0.01 stays accurate in float32.

    Source:
        Chan, Golub and LeVeque 1983, https://doi.org/10.1080/00031305.1983.10483115

    Example:
        >>> moments = StreamingMoments()
        >>> moments.add(torch.tensor([[1.0], [3.0]]))
        >>> moments.add(torch.tensor([[5.0]]))
        >>> moments.mean, moments.var
        (tensor([3.]), tensor([2.6667]))
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(())
        self._squares = torch.zeros(())

    def add(self, draws: Tensor) -> None:
        """Add a chunk ``[draws, ...]``."""
        draws = at_least_float32(draws)
        count = draws.shape[0]
        mean = draws.mean(dim=0)
        squares = (draws - mean).square().sum(dim=0)
        if self.count == 0:
            self.count, self.mean, self._squares = count, mean, squares
            return
        total = self.count + count
        delta = mean - self.mean
        self.mean.add_(delta, alpha=count / total)
        self._squares.add_(squares).addcmul_(delta, delta, value=self.count * count / total)
        self.count = total

    @property
    def var(self) -> Tensor:
        """Biased variance: the mean squared deviation, never negative."""
        return self._squares / self.count
