"""Closed forms in 60 digits, by mpmath, of exactly the numbers that the code is given."""

import mpmath
import numpy as np

mpmath.mp.dps = 60


def _elementwise(function):
    def apply(*args):
        arrays = np.broadcast_arrays(*[np.asarray(a, np.float64) for a in args])
        values = [function(*map(mpmath.mpf, map(float, row))) for row in zip(*[a.ravel() for a in arrays], strict=True)]
        return np.array([float(v) for v in values]).reshape(arrays[0].shape)

    return apply


def softplus(rho):
    return mpmath.log1p(mpmath.exp(rho))


def kl(mu, rho, prior_mu, prior_sigma):
    s = softplus(rho)
    return mpmath.log(prior_sigma / s) + (s**2 + (mu - prior_mu) ** 2) / (2 * prior_sigma**2) - mpmath.mpf(1) / 2


sigma_from_rho = _elementwise(softplus)
sigma_gradient = _elementwise(lambda rho: 1 / (1 + mpmath.exp(-rho)))
rho_from_sigma = _elementwise(lambda s: mpmath.log(mpmath.expm1(s)))
rho_gradient = _elementwise(lambda s: 1 / -mpmath.expm1(-s))
log_sigma = _elementwise(lambda rho: mpmath.log(softplus(rho)))
log_sigma_gradient = _elementwise(lambda rho: 1 / (1 + mpmath.exp(-rho)) / softplus(rho))
gaussian_kl = _elementwise(kl)
kl_gradient_mu = _elementwise(lambda mu, rho, m, s: (mu - m) / s**2)
kl_gradient_rho = _elementwise(
    lambda mu, rho, m, s: (softplus(rho) / s**2 - 1 / softplus(rho)) / (1 + mpmath.exp(-rho))
)
gaussian_log_prob = _elementwise(
    lambda x, mu, s: -(((x - mu) / s) ** 2) / 2 - mpmath.log(s) - mpmath.log(2 * mpmath.pi) / 2
)
log_scale_ratio = _elementwise(lambda rho, s: mpmath.log(softplus(rho) / s))
