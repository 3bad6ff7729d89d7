"""Closed forms that mpmath evaluates to 60 digits, at exactly the numbers that the code receives."""

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


def laplace_kl(mu, rho, prior_mu, scale):
    s, d = softplus(rho), mu - prior_mu
    distance = mpmath.sqrt(2 / mpmath.pi) * s * mpmath.exp(-(d**2) / (2 * s**2)) + d * mpmath.erf(
        d / (mpmath.sqrt(2) * s)
    )
    return distance / scale + mpmath.log(2 * scale / s) - mpmath.log(2 * mpmath.pi * mpmath.e) / 2


def scale_mixture(w, pi, sigma1, sigma2):
    def density(s):
        return mpmath.exp(-((w / s) ** 2) / 2) / s / mpmath.sqrt(2 * mpmath.pi)

    return pi * density(sigma1), (1 - pi) * density(sigma2)


def scale_mixture_slope(w, pi, sigma1, sigma2):
    first, second = scale_mixture(w, pi, sigma1, sigma2)
    return -w * (first / sigma1**2 + second / sigma2**2) / (first + second)


def student_t(w, df, scale):
    constant = mpmath.loggamma((df + 1) / 2) - mpmath.loggamma(df / 2) - mpmath.log(df * mpmath.pi) / 2
    return constant - mpmath.log(scale) - (df + 1) / 2 * mpmath.log1p((w / scale) ** 2 / df)


laplace_kl_gradient_mu = _elementwise(lambda mu, rho, m, b: mpmath.erf((mu - m) / (mpmath.sqrt(2) * softplus(rho))) / b)
laplace_kl_gradient_rho = _elementwise(
    lambda mu, rho, m, b: (
        (mpmath.sqrt(2 / mpmath.pi) * mpmath.exp(-(((mu - m) / softplus(rho)) ** 2) / 2) / b - 1 / softplus(rho))
        / (1 + mpmath.exp(-rho))
    )
)
laplace_kl = _elementwise(laplace_kl)
scale_mixture_log_prob = _elementwise(lambda *args: mpmath.log(sum(scale_mixture(*args))))
scale_mixture_gradient = _elementwise(scale_mixture_slope)
student_t_log_prob = _elementwise(student_t)
student_t_gradient = _elementwise(lambda w, df, s: -(df + 1) * w / (df * s**2 + w**2))
