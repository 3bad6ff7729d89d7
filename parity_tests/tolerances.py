"""Tolerances of the parity tests, each with its reason.

Only the numbers in this module and in `rounding` decide whether a case passes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tolerance:
    """Allowed difference of two computations of a tensor.

    Attributes:
        float32, float64: allowed error relative to the size of an entry.
        per_entry: whether each entry has its own size; otherwise all have the size of the largest entry of the tensor.
        floor: smallest size; below it the allowed error is absolute.
        reason: why the tolerance has this size and is not tighter.

    >>> CLOSED_FORM.allowed(np.array([2.0]), "float64")
    array([2.e-12])
    """

    float32: float
    float64: float
    per_entry: bool
    floor: float
    reason: str

    def size(self, expected: np.ndarray) -> np.ndarray:
        """Return the size that errors are relative to."""
        size = np.abs(np.asarray(expected, np.float64))
        if not self.per_entry:
            size = np.broadcast_to(size.max(initial=0.0), size.shape)
        return np.maximum(size, self.floor)

    def allowed(self, expected: np.ndarray, dtype: str) -> np.ndarray:
        """Return the largest allowed absolute error, entry by entry."""
        return getattr(self, dtype) * self.size(expected)


# If a case has a `conditioning`, this many roundings of an intermediate number are allowed, of one ulp each. The
# conditioning is the effect of one such rounding on the results.
CONDITIONING_ULP = 8

CLOSED_FORM = Tolerance(
    1e-5, 1e-12, True, 0.0, "a handful of correctly rounded operations on one entry: tens of ulp at most"
)
LOGARITHM = Tolerance(
    1e-5,
    1e-12,
    True,
    1.0,
    "a logarithm passes through zero, where it cannot keep a relative error: absolute below 1 nat",
)
SUM = Tolerance(
    1e-5,
    1e-10,
    False,
    0.0,
    "sums and gradients of many terms in another order: the error is relative to the largest terms, not to the result",
)
# With q = sigma / sigma_p and constants aside, the KL is q^2 / 2 - log q, and its slope in rho is
# (q^2 - 1) dlog(sigma) / drho. No formula of rho in that dtype avoids a rounding of sigma by one ulp. It moves the KL
# by eps |q^2 - 1| and the slope by 2 eps q^2 dlog(sigma) / drho. That is 66 eps of the slope at q = 1.015, and grows
# without bound as q tends to 1.
KL = Tolerance(
    CONDITIONING_ULP * 2.0**-23,
    CONDITIONING_ULP * 2.0**-52,
    True,
    0.0,
    f"{CONDITIONING_ULP} ulp of the entry, and {CONDITIONING_ULP} times what a rounding of sigma by one ulp moves the "
    "entry by: the KL and its slope cancel where sigma is near the prior's (measured: 1.9 of the 8)",
)
TRAJECTORY = Tolerance(
    1e-4,
    1e-8,
    False,
    0.0,
    "200 steps feed every rounding back into the next gradient, and Adam divides a small gradient by its own size, so "
    "that a rounding in it moves a parameter by a part of a step: float32 is allowed 1000 ulp (measured: 62)",
)

SAVED = Tolerance(
    1e-6,
    1e-12,
    False,
    0.0,
    "the same weights from a file: only the order of the sums differs, in layers of a few units (measured: 2.3e-7 "
    "and 5e-16)",
)
BFLOAT16 = Tolerance(
    1e-5,
    1e-10,
    False,
    0.0,
    "numbers that stay in float32 (the KL of weights that are bfloat16 numbers) are compared as sums in float32; the "
    "others may be off by every rounding on their way, 2^-8 of the rounded number each, times the slope from there "
    "(rounding.py)",
)

# Monte Carlo against the exact value, at a fixed seed: five standard errors.
STANDARD_ERRORS = 5.0

# The Kolmogorov-Smirnov test at a fixed seed: a correct sampler has a smaller p-value for one in a thousand seeds.
KS_PROBABILITY = 1e-3

BY_NAME = {
    "closed form": CLOSED_FORM,
    "logarithm": LOGARITHM,
    "sum": SUM,
    "KL": KL,
    "trajectory": TRAJECTORY,
    "bfloat16": BFLOAT16,
}
