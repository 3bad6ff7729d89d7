"""Every tolerance of the parity tests, each with its reason. Nothing else in this folder names a number to pass by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tolerance:
    """How far two computations of one tensor may lie apart.

    Attributes:
        float32, float64: the error allowed, relative to the size of an entry.
        per_entry: size is the entry's own; else that of the largest entry of its tensor.
        floor: size counts as at least this, so that below it the error is an absolute one.
        reason: why it is this and not tighter.

    >>> CLOSED_FORM.allowed(np.array([2.0]), "float64")
    array([2.e-12])
    """

    float32: float
    float64: float
    per_entry: bool
    floor: float
    reason: str

    def size(self, expected: np.ndarray) -> np.ndarray:
        """The size that errors are relative to, entry by entry."""
        size = np.abs(np.asarray(expected, np.float64))
        if not self.per_entry:
            size = np.broadcast_to(size.max(initial=0.0), size.shape)
        return np.maximum(size, self.floor)

    def allowed(self, expected: np.ndarray, dtype: str) -> np.ndarray:
        """The largest absolute error allowed, entry by entry."""
        return getattr(self, dtype) * self.size(expected)


CLOSED_FORM = Tolerance(
    1e-5, 1e-12, True, 0.0, "a handful of correctly rounded operations on one entry: tens of ulp at most"
)
LOGARITHM = Tolerance(
    1e-5,
    1e-12,
    True,
    1.0,
    "a logarithm passes through zero, where no relative error can be asked for: absolute below 1 nat",
)
SUM = Tolerance(
    1e-5,
    1e-10,
    False,
    0.0,
    "sums and gradients of many terms in another order: the error is that of the largest terms, not of the result",
)
NEAR_PRIOR = Tolerance(
    1e-5,
    1e-12,
    True,
    0.0,
    "as a closed form, and CONDITIONING_ULP times what one ulp of sigma moves the result by",
)
TRAJECTORY = Tolerance(
    1e-4,
    1e-8,
    False,
    0.0,
    "200 steps feed every rounding back into the next gradient, and Adam divides a small gradient by its own size, so "
    "that a rounding in it moves a parameter by a part of a step: float32 is allowed 1000 ulp (measured: 62)",
)

BFLOAT16 = Tolerance(
    1e-5,
    1e-10,
    False,
    0.0,
    "what stays in float32 (the KL of weights that are bfloat16 numbers) is held as a sum in float32; the rest may be "
    "off by every rounding on its way, 2^-8 of what is rounded each, times the slope from there (rounding.py)",
)

# Near q = p the KL is a function of log(sigma_q / sigma_p): an error of one ulp in sigma, which no formula of rho in
# that dtype avoids, moves the KL by eps |(s^2 - 1)| and its gradient by about 2 eps. So many such ulps are allowed.
CONDITIONING_ULP = 16

# Monte Carlo against the exact value, at a fixed seed: five standard errors.
STANDARD_ERRORS = 5.0

# The Kolmogorov-Smirnov test at a fixed seed: a right sampler falls below this once in a thousand seeds.
KS_PROBABILITY = 1e-3

BY_NAME = {
    "closed form": CLOSED_FORM,
    "logarithm": LOGARITHM,
    "sum": SUM,
    "near prior": NEAR_PRIOR,
    "trajectory": TRAJECTORY,
    "bfloat16": BFLOAT16,
}
