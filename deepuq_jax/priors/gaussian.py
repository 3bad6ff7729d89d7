"""Gaussian prior over weights.

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
    """Independent Gaussian prior, p(w) = N(w; mu, sigma^2).

    The KL has a closed form. Plain numbers are static, so models with equal priors share compiled programs. Arrays,
    such as scales per parameter or the scales of a sweep, are leaves, so `vmap` can run over them.

    Args:
        mu: mean, a number or an array that broadcasts to the weights.
        sigma: positive standard deviation, a number or an array that broadcasts to the weights.
    Raises:
        ValueError: sigma is not finite and positive, or mu is not finite. TypeError: either is not a number or an
            array.

    >>> prior = GaussianPrior(sigma=1.0)
    >>> float(prior.log_prob(jnp.zeros(2)))
    -1.8378...
    """

    SCALES: ClassVar[tuple[str, ...]] = ("sigma",)

    mu: ArrayLike = 0.0
    sigma: ArrayLike = 0.1

    @property
    def has_closed_form_kl(self) -> bool:
        """True."""
        return True

    def log_prob(self, w: Array) -> Array:
        """Compute log p(w) in nats, summed over the tensor."""
        self.check_fits(w)
        return jnp.sum(gaussian_log_prob(w, self.mu, jnp.asarray(self.sigma, _dtype(w))))

    def kl(self, mu: Array, rho: Array) -> Array:
        """Compute KL(q || p) in closed form.

        KL(q || p) = sum of log(sigma_p / sigma_q) + (sigma_q^2 + (mu_q - mu_p)^2) / (2 sigma_p^2) - 1/2 over the
        components, evaluated without cancellation as in `functional.gaussian_kl`.

        Args:
            mu, rho: parameters of q = N(mu, softplus(rho)^2), of the shape of the weights.
        Returns:
            KL in nats, summed over the tensor to a scalar.
        """
        self.check_fits(mu)
        return total(gaussian_kl(mu, rho, self.mu, self.sigma))

    def kl_at_scale(self, mu: Array, scale: Scale, rho: Array) -> Array:
        """Compute `kl` for a caller who already has the scale of `rho`."""
        return total(gaussian_kl_at_scale(mu, scale, rho, self.mu, self.sigma))


def _dtype(w: Array):
    return jnp.promote_types(jnp.asarray(w).dtype, jnp.float32)
