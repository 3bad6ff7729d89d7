"""The result type shared by every predictive function."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass
class UQResult:
    """Predictive moments, split by where the uncertainty comes from.

    ``total_var = epistemic_var + aleatoric_var`` wherever both are known; every ``*_var`` is a variance,
    never a standard deviation.

    Attributes:
        mean: predictive mean, ``[batch, ...]``; in classification the same as ``probs``.
        epistemic_var: variance of the prediction over posterior draws.
        aleatoric_var: variance of the observation noise; None where nobody said what it is.
        total_var: the sum of the two.
        probs: mean class probabilities, or None in regression.
        probs_var: variance of the class probabilities, or None in regression.
        metadata: how the result was made; a fresh dict for each result.

    Example:
        >>> UQResult(mean=torch.zeros(2)).metadata
        {}
    """

    mean: torch.Tensor
    epistemic_var: torch.Tensor | None = None
    aleatoric_var: torch.Tensor | None = None
    total_var: torch.Tensor | None = None
    probs: torch.Tensor | None = None
    probs_var: torch.Tensor | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
