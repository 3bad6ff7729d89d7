"""The same maths, and its gradients, in 60 digits.

The numbers are mpmath's, in numpy arrays. In 60 digits, a difference quotient with a relative step of 1e-25 is right to
about 25 digits. So no derivative is written by hand, and none can be wrong in the same way as the code.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import mpmath
import numpy as np

# A context of our own: other code may set the precision of mpmath's global context.
mp: Any = mpmath.mp.clone()
mp.dps = 60
_STEP = mp.mpf(10) ** -25
# The step of a first derivative that is differentiated again. The error of a central difference is of the order of the
# square of its step. The larger step leaves more digits to the second difference.
_INNER_STEP = mp.mpf(10) ** -15

Exact = np.ndarray  # of mpmath numbers
HALF_LOG_2PI = mp.log(2 * mp.pi) / 2


def _each(function: Callable) -> Callable[..., Any]:
    return np.vectorize(function, otypes=[object])


exact = _each(lambda number: mp.mpf(float(number)))
exp, log, tanh = _each(mp.exp), _each(mp.log), _each(mp.tanh)
relu = _each(lambda z: z if z > 0 else mp.mpf(0))
gelu = _each(lambda z: z * mp.ncdf(z))
silu = _each(lambda z: z / (1 + mp.exp(-z)))
# A gradient evaluates the function again and again at weights of which only one has moved: hence the caches.
# log1p keeps the digits of an exponential that is small beside 1.
softplus = _each(functools.lru_cache(2**14)(lambda rho: mp.log1p(mp.exp(rho))))
rho_from_sigma = _each(lambda sigma: sigma + mp.log(-mp.expm1(-sigma)))


def log_sigma(rho: Exact) -> Exact:
    """Compute log softplus(rho)."""
    return log(softplus(rho))


def normal_log_prob(x: Exact, mu: Any, sigma: Any) -> Exact:
    """Compute log N(x; mu, sigma^2), entry by entry."""
    return -(((x - mu) / sigma) ** 2) / 2 - log(sigma) - HALF_LOG_2PI


@_each
@functools.lru_cache(2**14)
def gaussian_kl(mu: Any, rho: Any, prior_mu: Any, prior_sigma: Any) -> Any:
    """Compute the KL of N(mu, softplus(rho)^2) from N(prior_mu, prior_sigma^2).

    This is the textbook formula; with 60 digits, its cancellation does no harm.
    """
    sigma = mp.log1p(mp.exp(rho))
    return mp.log(prior_sigma / sigma) + (sigma**2 + (mu - prior_mu) ** 2) / (2 * prior_sigma**2) - mp.mpf(1) / 2


def log_softmax(logits: Exact) -> Exact:
    """Compute log-probabilities over the last axis."""
    return logits - log(exp(logits).sum(axis=-1, keepdims=True))


def moments(values: Exact) -> tuple[Exact, Exact]:
    """Compute mean and biased variance over the first axis."""
    mean = values.sum(axis=0) / len(values)
    return mean, ((values - mean) ** 2).sum(axis=0) / len(values)


def to_floats(value: Any) -> np.ndarray:
    """Round to the nearest float64."""
    return np.vectorize(float, otypes=[np.float64])(value)


def lift(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Turn floating arrays into exact numbers, and keep labels."""
    return {k: exact(v) if np.issubdtype(v.dtype, np.floating) else v for k, v in inputs.items()}


def gradient(
    function: Callable[[dict[str, np.ndarray]], np.ndarray],
    inputs: dict[str, np.ndarray],
    name: str,
    weights: np.ndarray,
    *,
    central: bool = True,
) -> np.ndarray:
    """Differentiate a weighted sum by each entry of an input.

    The sum is that of weights * function(inputs), and the input is inputs[name]. The error of a central difference is
    small relative to each entry of the gradient, even if this entry is nearly zero. The error of a forward difference
    is small relative to the curvature, and it takes half the time.
    """
    slopes = np.empty(inputs[name].shape, dtype=object)
    here = None if central else function(inputs)

    def moved(index: tuple[int, ...], step: Any) -> np.ndarray:
        values = inputs[name].copy()
        values[index] = values[index] + step
        return function({**inputs, name: values})

    for index in np.ndindex(slopes.shape):
        step = _STEP * (abs(inputs[name][index]) or 1)
        # The difference comes before the sum, so that an output of 1e-300 keeps its digits beside an output of 1000.
        if here is None:
            slopes[index] = np.sum(weights * (moved(index, step) - moved(index, -step))) / (2 * step)
        else:
            slopes[index] = np.sum(weights * (moved(index, step) - here)) / step
    return to_floats(slopes)


def slope(function: Callable[[Exact], Exact], at: Exact) -> Exact:
    """Differentiate an elementwise function, entry by entry.

    The result has enough digits to be differentiated again.
    """
    step = _INNER_STEP * np.where(at == 0, mp.mpf(1), abs(at))
    return (function(at + step) - function(at - step)) / (2 * step)
