"""Base class of layers and models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn


class BayesianModule(nn.Module):
    """Module whose call returns a tensor, for type checkers too.

    ``nn.Module`` declares that a call returns Any.
    """

    if TYPE_CHECKING:

        def __call__(
            self, x: Any, sample: bool = True, *, noise: Any = None, generator: torch.Generator | None = None
        ) -> Tensor: ...
