"""Laplace prior, whose tails are heavier than a Gaussian's and whose peak is sharp: the prior of an L1 penalty.

Source: Fortuin et al. 2022, Bayesian Neural Network Priors Revisited, arXiv 2102.06571.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import erf
from jax.typing import ArrayLike

from deepuq_jax.functional.gaussian import HALF_LOG_2PI, at_least_float32, log_sigma, sigma_from_rho, total
from deepuq_jax.priors._numbers import Numbers
from deepuq_jax.priors.base import Prior

_SQRT_2_OVER_PI = math.sqrt(2.0 / math.pi)
_LOG_2 = math.log(2.0)


@jax.tree_util.register_pytree_with_keys_class
@dataclass(frozen=True)
class LaplacePrior(Numbers, Prior):
    """Independent Laplace densities, p(w) = exp(-\\|w - mu\\| / scale) / (2 scale). The KL is in closed form.

    Args:
        mu: mean; a number or an array that broadcasts to the weights.
        scale: above zero; likewise. The standard deviation is sqrt(2) scale.
    Raises:
        ValueError: a scale that is not finite and above zero, a mean that is not finite. TypeError: not numbers.

    >>> float(LaplacePrior(scale=1.0).log_prob(jnp.zeros(1)))  # -log 2
    -0.6931...
    """

    SCALES: ClassVar[tuple[str, ...]] = ("scale",)

    mu: ArrayLike = 0.0
    scale: ArrayLike = 0.1

    @property
    def has_closed_form_kl(self) -> bool:
        """It has."""
        return True

    def log_prob(self, w: Array) -> Array:
        """log p(w), summed over the tensor, in nats."""
        distance = jnp.abs(at_least_float32(jnp.subtract(w, self.mu)))
        scale = jnp.asarray(self.scale, distance.dtype)
        return -jnp.sum(distance / scale + jnp.log(scale) + _LOG_2)

    def kl(self, mu: Array, rho: Array) -> Array:
        """KL(q || p) in closed form for q = N(mu, softplus(rho)^2), summed over the tensor, in nats.

        KL = E_q\\|w - mu_p\\| / scale + log(2 scale / sigma) - log(2 pi e) / 2, with d = mu - mu_p and
        E_q\\|w - mu_p\\| = sqrt(2 / pi) sigma exp(-d^2 / (2 sigma^2)) + d erf(d / (sqrt(2) sigma))
        """
        mu, rho = at_least_float32(mu), at_least_float32(rho)
        scale = jnp.asarray(self.scale, jnp.promote_types(rho.dtype, jnp.result_type(self.scale)))
        distance = _mean_distance(mu - self.mu, sigma_from_rho(rho)) / scale
        return total(distance + (jnp.log(scale) - log_sigma(rho)) + (_LOG_2 - HALF_LOG_2PI - 0.5))


@jax.custom_jvp
def _mean_distance(d: Array, sigma: Array) -> Array:
    """E\\|d + sigma eps\\| of a standard normal eps: both terms are positive, so nothing cancels."""
    z = _ratio(d, sigma)
    return _SQRT_2_OVER_PI * sigma * jnp.exp(-0.5 * jnp.square(z)) + d * erf(math.sqrt(0.5) * z)


@_mean_distance.defjvp
def _mean_distance_jvp(primals: Any, tangents: Any) -> Any:
    # Its derivatives are erf(z / sqrt 2) and sqrt(2 / pi) exp(-z^2 / 2), z = d / sigma: bounded, where those of the
    # terms one by one are not.
    z = _ratio(*primals)
    by_d, by_sigma = erf(math.sqrt(0.5) * z), _SQRT_2_OVER_PI * jnp.exp(-0.5 * jnp.square(z))
    return _mean_distance(*primals), by_d * tangents[0] + by_sigma * tangents[1]


def _ratio(d: Array, sigma: Array) -> Array:
    """d / sigma, and 0 at d = 0 where sigma has underflowed too."""
    return d / jnp.where(d == 0.0, 1.0, sigma)
