"""Empirical Bayes: the scale of a Gaussian prior set by the posterior itself, tensor by tensor.

Source: Wu et al. 2019, Deterministic Variational Inference for Robust Bayesian Neural Networks, arXiv 1810.03958,
section 4, here without their hyperprior.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from deepuq_jax.functional.gaussian import at_least_float32, sigma_from_rho
from deepuq_jax.priors._numbers import Numbers
from deepuq_jax.priors.base import Prior
from deepuq_jax.priors.gaussian import GaussianPrior


@jax.tree_util.register_pytree_with_keys_class
@dataclass(frozen=True)
class EmpiricalGaussianPrior(Numbers, Prior):
    """p(w) = N(w; mu, sigma_p^2), its scale the best one for each tensor at every step. The KL is in closed form.

    sigma_p^2 = mean(sigma_q^2 + (mu_q - mu)^2), the minimum of KL(q || p) over sigma_p, which there is
    sum log(sigma_p / sigma_q). At a minimum the scale adds nothing to the gradient, so it is held fixed in it.

    There is no state and no update of its own: `fit`, `train_step` and `vmap` take it as any other prior. A tensor of a
    few weights (a bias) hardly tells its scale: give it a prior of its own by `by_path`.

    Args:
        mu: mean; a number or an array that broadcasts to the weights.

    >>> from deepuq_jax import GaussianPosterior
    >>> q = GaussianPosterior(jnp.array([3.0, -4.0]), jnp.full(2, -20.0))
    >>> round(float(EmpiricalGaussianPrior().resolve(q.mu, q.rho).sigma), 4)  # root mean square of 3 and 4
    3.5355
    """

    mu: ArrayLike = 0.0

    @property
    def has_closed_form_kl(self) -> bool:
        """It has: that of the Gaussian which it is for a posterior."""
        return True

    def log_prob(self, w: Array) -> Array:
        """Refused: the density is known for a posterior only.

        Raises:
            TypeError: always; use `resolve(mu, rho).log_prob(w)`.
        """
        raise TypeError("Expected EmpiricalGaussianPrior to be resolved for a posterior; call resolve(mu, rho) first.")

    def resolve(self, mu: Array, rho: Array, mask: Array | None = None) -> GaussianPrior:
        """The Gaussian prior that is nearest to q = N(mu, softplus(rho)^2), over the weights where `mask` is True."""
        mu, rho = jax.lax.stop_gradient((mu, rho))
        distance = jnp.hypot(sigma_from_rho(rho), at_least_float32(mu) - self.mu)
        count = distance.size
        if mask is not None:
            distance, count = jnp.where(mask, distance, 0.0), jnp.maximum(jnp.sum(mask), 1)
        # Divided by the largest, so that no square overflows or underflows; with nothing left any scale will do.
        largest = jnp.max(distance)
        largest = jnp.where(largest > 0.0, largest, 1.0)
        ratio = distance / largest
        mean_square = jnp.sum(jnp.square(ratio)) / count
        sigma = largest * jnp.sqrt(jnp.where(mean_square > 0.0, mean_square, 1.0))
        return GaussianPrior().unchecked(mu=self.mu, sigma=sigma)
