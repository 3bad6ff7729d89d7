"""The same maths in 60 digits, by mpmath on numpy arrays of its numbers, and its gradients by differences there.

With 60 digits a difference quotient at a step of 1e-25 is right to more than 25 digits, so no derivative is written by
hand and none can be wrong in the same way as the code's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import mpmath
import numpy as np

# A context of our own: the precision of mpmath's global one belongs to whoever else uses it.
mp: Any = mpmath.mp.clone()
mp.dps = 60
_STEP = mp.mpf(10) ** -25

Exact = np.ndarray  # of mpmath numbers
HALF_LOG_2PI = mp.log(2 * mp.pi) / 2


def _each(function: Callable) -> Callable[..., Any]:
    return np.vectorize(function, otypes=[object])


exact = _each(lambda number: mp.mpf(float(number)))
exp, log, tanh = _each(mp.exp), _each(mp.log), _each(mp.tanh)
relu = _each(lambda z: z if z > 0 else mp.mpf(0))
gelu = _each(lambda z: z * mp.ncdf(z))
silu = _each(lambda z: z / (1 + mp.exp(-z)))
# A gradient asks for the same weights again and again with one of them moved, hence the caches.
# Below, log1p keeps the digits of an exponential that is small beside 1.
softplus = _each(functools.lru_cache(2**14)(lambda rho: mp.log1p(mp.exp(rho))))
rho_from_sigma = _each(lambda sigma: sigma + mp.log(-mp.expm1(-sigma)))


def log_sigma(rho: Exact) -> Exact:
    """log softplus(rho)."""
    return log(softplus(rho))


def normal_log_prob(x: Exact, mu: Any, sigma: Any) -> Exact:
    """log N(x; mu, sigma^2), entry by entry."""
    return -(((x - mu) / sigma) ** 2) / 2 - log(sigma) - HALF_LOG_2PI


@_each
@functools.lru_cache(2**14)
def gaussian_kl(mu: Any, rho: Any, prior_mu: Any, prior_sigma: Any) -> Any:
    """KL of N(mu, softplus(rho)^2) from N(prior_mu, prior_sigma^2) by the textbook: 60 digits bear its cancellation."""
    sigma = mp.log1p(mp.exp(rho))
    return mp.log(prior_sigma / sigma) + (sigma**2 + (mu - prior_mu) ** 2) / (2 * prior_sigma**2) - mp.mpf(1) / 2


def log_softmax(logits: Exact) -> Exact:
    """Log-probabilities over the last axis."""
    return logits - log(exp(logits).sum(axis=-1, keepdims=True))


def to_floats(value: Any) -> np.ndarray:
    """The nearest float64."""
    return np.vectorize(float, otypes=[np.float64])(value)


def lift(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Floating arrays as exact numbers; integer ones (labels) as they are."""
    return {k: exact(v) if np.issubdtype(v.dtype, np.floating) else v for k, v in inputs.items()}


def gradient(
    function: Callable[[dict[str, np.ndarray]], np.ndarray],
    inputs: dict[str, np.ndarray],
    name: str,
    weights: np.ndarray,
) -> np.ndarray:
    """Derivatives of the sum of weights * function by each entry of `inputs[name]`."""
    slopes = np.empty(inputs[name].shape, dtype=object)
    for index in np.ndindex(slopes.shape):
        up, down = inputs[name].copy(), inputs[name].copy()
        step = _STEP * (abs(up[index]) or 1)
        up[index], down[index] = up[index] + step, down[index] - step
        # The difference before the sum: an output of 1e-300 keeps its digits beside one of 1000.
        difference = function({**inputs, name: up}) - function({**inputs, name: down})
        slopes[index] = np.sum(weights * difference) / (2 * step)
    return to_floats(slopes)
