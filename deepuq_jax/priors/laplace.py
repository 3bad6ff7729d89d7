"""Laplace prior over weights, which corresponds to an L1 penalty.

Its tails are heavier than the tails of a Gaussian, and its peak is sharp.

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
    """Independent Laplace prior; the KL has a closed form.

    p(w) = exp(-\\|w - mu\\| / scale) / (2 scale)

    Args:
        mu: mean, a number or an array that broadcasts to the weights.
        scale: positive scale, a number or an array that broadcasts to the weights. The standard deviation is
            sqrt(2) scale.
    Raises:
        ValueError: scale is not finite and positive, or mu is not finite. TypeError: either is not a number or an
            array.

    >>> float(LaplacePrior(scale=1.0).log_prob(jnp.zeros(1)))  # -log 2
    -0.6931...
    """

    SCALES: ClassVar[tuple[str, ...]] = ("scale",)

    mu: ArrayLike = 0.0
    scale: ArrayLike = 0.1

    @property
    def has_closed_form_kl(self) -> bool:
        """True."""
        return True

    def log_prob(self, w: Array) -> Array:
        """Compute log p(w) in nats, summed over the tensor."""
        self.check_fits(w)
        distance = jnp.abs(at_least_float32(jnp.subtract(w, self.mu)))
        scale = jnp.asarray(self.scale, distance.dtype)
        return -jnp.sum(distance / scale + jnp.log(scale) + _LOG_2)

    def kl(self, mu: Array, rho: Array) -> Array:
        """Compute KL(q || p) in closed form.

        Per component, with q = N(mu, sigma^2) and d = mu - mu_p,
        KL = E_q\\|w - mu_p\\| / scale + log(2 scale / sigma) - log(2 pi e) / 2,
        E_q\\|w - mu_p\\| = sqrt(2 / pi) sigma exp(-d^2 / (2 sigma^2)) + d erf(d / (sqrt(2) sigma)).

        Args:
            mu, rho: parameters of q, of the shape of the weights, with sigma = softplus(rho).
        Returns:
            KL in nats, summed over the tensor to a scalar.
        """
        self.check_fits(mu)
        mu, rho = at_least_float32(mu), at_least_float32(rho)
        scale = jnp.asarray(self.scale, jnp.promote_types(rho.dtype, jnp.result_type(self.scale)))
        distance = _mean_distance(mu - self.mu, sigma_from_rho(rho)) / scale
        return total(distance + (jnp.log(scale) - log_sigma(rho)) + (_LOG_2 - HALF_LOG_2PI - 0.5))


@jax.custom_jvp
def _mean_distance(d: Array, sigma: Array) -> Array:
    """Compute E\\|d + sigma eps\\| for a standard normal eps.

    Both terms are positive, so nothing cancels.
    """
    z = _ratio(d, sigma)
    return _SQRT_2_OVER_PI * sigma * jnp.exp(-0.5 * jnp.square(z)) + d * erf(math.sqrt(0.5) * z)


@_mean_distance.defjvp
def _mean_distance_jvp(primals: Any, tangents: Any) -> Any:
    # The derivatives are erf(z / sqrt 2) and sqrt(2 / pi) exp(-z^2 / 2) with z = d / sigma. They are bounded, but the
    # derivatives of the single terms are not.
    z = _ratio(*primals)
    by_d, by_sigma = erf(math.sqrt(0.5) * z), _SQRT_2_OVER_PI * jnp.exp(-0.5 * jnp.square(z))
    return _mean_distance(*primals), by_d * tangents[0] + by_sigma * tangents[1]


def _ratio(d: Array, sigma: Array) -> Array:
    """Compute d / sigma, with 0 / 0 = 0."""
    return d / jnp.where((d == 0.0) & (sigma == 0.0), 1.0, sigma)
