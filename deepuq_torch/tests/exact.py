"""The Gaussian functions to 60 digits, and the points at which they are tested."""

import mpmath as mp

mp.mp.dps = 60
RHOS = [-1000.0, -745.5, -200.0, -104.0, -88.0, -87.0, -60.5, -50.0, -49.9, -37.0, -20.0, -3.0, -0.7, 0.0]
RHOS += [0.5413, 0.6, 3.0, 19.9, 20.1, 21.0, 30.0, 39.9, 40.1, 80.0, 88.8, 104.0, 709.0, 1000.0]
RATIOS = [
    1e-6,
    1e-3,
    0.1,
    0.5,
    0.999,
    1 - 1e-4,
    1 - 1e-6,
    1.0,
    1 + 1e-6,
    1 + 1e-4,
    1.001,
    2.0,
    10.0,
    1e3,
    1e6,
]


def exact_sigma(rho):
    return mp.log1p(mp.exp(mp.mpf(rho)))


def sigmoid(rho):
    return 1 / (1 + mp.exp(-mp.mpf(rho)))


def near(got, expected, rtol, floor=0.0):
    return abs(got - expected) <= rtol * abs(expected) + floor


def exact_kl(mu, rho, prior_mu, prior_sigma):
    """Return the KL, its derivatives in mu and rho, and log(sigma_q / sigma_p)."""
    q, p, d = exact_sigma(rho), mp.mpf(prior_sigma), mp.mpf(mu) - mp.mpf(prior_mu)
    value = mp.log(p / q) + (q**2 + d**2) / (2 * p**2) - mp.mpf(1) / 2
    slope = (q / p**2 - 1 / q) * sigmoid(rho)
    return value, d / p**2, slope, mp.log(q / p)
