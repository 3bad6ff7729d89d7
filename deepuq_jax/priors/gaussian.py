"""Gaussian prior with a mean and a scale.

Source: Blundell et al. 2015, arXiv 1505.05424; the closed-form KL is Kingma & Welling 2014, arXiv 1312.6114, app. B.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from deepuq_jax.functional.gaussian import gaussian_kl, gaussian_kl_at_scale, gaussian_log_prob, total
from deepuq_jax.functional.scale import Scale
from deepuq_jax.priors._numbers import Numbers
from deepuq_jax.priors.base import Prior


@jax.tree_util.register_pytree_with_keys_class
@dataclass(frozen=True)
class GaussianPrior(Numbers, Prior):
    """Independent Gaussians, p(w) = N(w; mu, sigma^2). The KL is in closed form.

    Plain numbers are static: equal priors are one compilation. Arrays (per-parameter scales, swept or learned ones)
    are leaves, so a sweep over them can be vmapped.

    Args:
        mu: mean; a number or an array that broadcasts to the weights.
        sigma: standard deviation above zero; likewise.
    Raises:
        ValueError: a sigma that is not finite and above zero, a mean that is not finite. TypeError: not numbers.

    >>> prior = GaussianPrior(sigma=1.0)
    >>> float(prior.log_prob(jnp.zeros(2)))
    -1.8378...
    """

    SCALES: ClassVar[tuple[str, ...]] = ("sigma",)

    mu: ArrayLike = 0.0
    sigma: ArrayLike = 0.1

    @property
    def has_closed_form_kl(self) -> bool:
        """It has."""
        return True

    def log_prob(self, w: Array) -> Array:
        """log p(w), summed over the tensor, in nats."""
        return jnp.sum(gaussian_log_prob(w, self.mu, jnp.asarray(self.sigma, _dtype(w))))

    def kl(self, mu: Array, rho: Array) -> Array:
        """KL(q || p) in closed form for q = N(mu, softplus(rho)^2), summed over the tensor, in nats."""
        return total(gaussian_kl(mu, rho, self.mu, self.sigma))

    def kl_at_scale(self, mu: Array, scale: Scale, rho: Array) -> Array:
        """`kl`, for a training step that has computed the scale already."""
        return total(gaussian_kl_at_scale(mu, scale, rho, self.mu, self.sigma))


def _dtype(w: Array):
    return jnp.promote_types(jnp.asarray(w).dtype, jnp.float32)
