"""Every tolerance of the JAX tests, each with its reason."""

import numpy as np

# A closed form is a handful of correctly rounded operations, with an error of tens of ulp.
CLOSED_FORM = {"float32": 1e-5, "float64": 1e-12}

# Near q = p, the KL is a function of log(sigma_q / sigma_p). Its relative condition number 1 / |log(...)| magnifies an
# error of one ulp in sigma. A few ulp times that number is the best that any formula can do from rho.
KL_CONDITIONING_ULP = 32

# sigma(rho_from_sigma(s)) = s within a few ulp times max(1, |rho|), since rho itself is rounded.
ROUND_TRIP_ULP = 8

# Sums and gradients of many terms depend on the order of summation.
SUMS = {"float32": 1e-5, "float64": 1e-10}

# Several devices add up a batch in another order than one. After about fifty training steps, arrays still agree this
# closely, relative to their largest entry, or to 1 if that is larger.
LAYOUTS = {"float32": 1e-6, "float64": 1e-12}

# Two libraries compute a metric as a sum of a few hundred rounded terms.
METRICS = 1e-6

# Monte Carlo estimates, at a fixed seed, are within five standard errors of the exact value.
STANDARD_ERRORS = 5.0


def ulp(dtype) -> float:
    """Return the distance from 1 to the next number."""
    return float(np.finfo(dtype).eps)
