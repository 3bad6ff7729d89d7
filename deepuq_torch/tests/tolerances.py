"""Tolerances of the tests, each with its reason."""

import torch

# Closed forms against 60-digit arithmetic: a handful of roundings of about an ulp each, in a sum of two terms.
CLOSED_FORM = {torch.float32: 1e-5, torch.float64: 1e-12}

# Near q = p the KL is a difference. No formula of rho avoids an error of one ulp (eps) in sigma. It moves
# r = log(sigma_q / sigma_p) by eps, and so the KL by eps |exp(2 r) - 1|. This many such ulps are allowed.
CONDITIONING_ULPS = 6

# The error of rho_from_sigma and back, in ulps of sigma times max(1, |rho|): an ulp of rho moves sigma by |rho| ulps.
INVERSE_ULPS = 4

# Sums over a tensor and gradients through a network, against the same formula in another order of operations.
SUMS = {torch.float32: 1e-5, torch.float64: 1e-10}

# The same numbers as the original at the same seed: float32 rounding through at most four layers, relative to the
# largest entry. Measured: at most 4e-7.
DROP_IN = 2e-6

# bfloat16 keeps 8 bits: the weights and the outputs are rounded.
BFLOAT16 = 2e-2

# 200 natural-gradient steps in float64 against the formulas with sigma, not rho, as the variable: each step adds a few
# roundings, and the steps contract. Relative to each entry. Measured: at most 5e-14.
NATURAL_STEPS = 1e-10

# 200 steps of another implementation in float64, relative to the largest entry. Measured: 4e-15.
IVON = 1e-10

# 400 steps with exact gradients and momentum shrink the initial error of the means by 1e9. Measured: 8e-10.
EXACT_OPTIMUM = 1e-7

# Training whose steps shrink to zero ends this near to the exact optimum. The first number is for the means, in
# standard deviations. The second is for the standard deviations, relative to the exact ones.
OPTIMUM_IN_SIGMAS, OPTIMUM_SIGMA = 0.1, 0.02

# Monte Carlo means at a fixed seed: five standard errors.
STANDARD_ERRORS = 5.0


def max_relative(got: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference, relative to the largest expected entry."""
    scale = max(expected.double().abs().max().item(), torch.finfo(torch.float32).tiny)
    return (got.double() - expected.double()).abs().max().item() / scale
