"""Result type of predictive functions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass
class UQResult:
    """Predictive moments, split by the source of the uncertainty.

    ``total_var = epistemic_var + aleatoric_var`` if both are known. Every ``*_var`` is a variance, not a standard
    deviation.

    Attributes:
        mean: predictive mean, ``[batch, ...]``; in classification the same as ``probs``.
        epistemic_var: variance of the prediction over posterior draws. ``predict_vi_uq`` always sets it and total_var,
            so their declared type is Tensor. They are None only in a result made by hand without them.
        aleatoric_var: variance of the observation noise, or None if it is not known.
        total_var: sum of the two variances, or the epistemic variance alone if the other is None.
        probs: mean class probabilities, or None in regression.
        probs_var: variance of the class probabilities, or None in regression.
        metadata: method, number of draws and task; a fresh dict per result.

    Example:
        >>> UQResult(mean=torch.zeros(2)).metadata
        {}
    """

    mean: torch.Tensor
    epistemic_var: torch.Tensor = None  # type: ignore[assignment]
    aleatoric_var: torch.Tensor | None = None
    total_var: torch.Tensor = None  # type: ignore[assignment]
    probs: torch.Tensor | None = None
    probs_var: torch.Tensor | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
