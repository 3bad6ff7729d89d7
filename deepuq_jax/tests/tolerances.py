"""Every tolerance of the JAX tests, each with its reason."""

import numpy as np

# A closed form is a handful of correctly rounded operations: tens of ulp.
CLOSED_FORM = {"float32": 1e-5, "float64": 1e-12}

# Near q = p the KL is a function of log(sigma_q / sigma_p), whose relative condition number is 1 / |log(...)|: an error
# of one ulp in sigma is magnified by it. Few ulp times that conditioning is the best any formula can do from rho.
KL_CONDITIONING_ULP = 32

# sigma(rho_from_sigma(s)) = s within a few ulp times max(1, |rho|): rho itself is rounded.
ROUND_TRIP_ULP = 8

# Sums and gradients of many terms, in another order of summation.
SUMS = {"float32": 1e-5, "float64": 1e-10}

# Metrics against another library's: both are sums of a few hundred rounded terms.
METRICS = 1e-6

# Monte Carlo against the exact value: five standard errors, at a fixed seed.
STANDARD_ERRORS = 5.0


def ulp(dtype) -> float:
    """Distance from 1 to the next number."""
    return float(np.finfo(dtype).eps)
