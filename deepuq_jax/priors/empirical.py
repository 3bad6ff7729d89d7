"""Gaussian prior with an empirical Bayes scale per tensor.

Source: Wu et al. 2019, Deterministic Variational Inference for Robust Bayesian Neural Networks, arXiv 1810.03958,
section 4. Their hyperprior is left out.
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
    """Gaussian prior with the optimal scale for each posterior.

    p(w) = N(w; mu, sigma_p^2), with sigma_p^2 = mean(sigma_q^2 + (mu_q - mu)^2) over the tensor

    For each tensor and at every step, this sigma_p minimises KL(q || p). The KL has a closed form, and its minimum is
    sum log(sigma_p / sigma_q). The gradient treats sigma_p as a constant, since the derivative in sigma_p is 0 at the
    minimum. Second derivatives treat it as a constant too, so they are those of the KL from the resolved prior, not of
    the minimum over sigma_p.

    The prior has no state and needs no update, so `fit`, `train_step` and `vmap` treat it like any other prior. A
    tensor with few weights, such as a bias, hardly determines a scale; give it another prior with `by_path`.

    Args:
        mu: mean, a number or an array that broadcasts to the weights.

    >>> from deepuq_jax import GaussianPosterior
    >>> q = GaussianPosterior(jnp.array([3.0, -4.0]), jnp.full(2, -20.0))
    >>> round(float(EmpiricalGaussianPrior().resolve(q.mu, q.rho).sigma), 4)  # root mean square of 3 and 4
    3.5355
    """

    mu: ArrayLike = 0.0

    @property
    def has_closed_form_kl(self) -> bool:
        """True, since the KL of the resolved prior has a closed form."""
        return True

    def log_prob(self, w: Array) -> Array:
        """Refuse to compute a density, which depends on the posterior.

        Raises:
            TypeError: always; use `resolve(mu, rho).log_prob(w)` instead.
        """
        raise TypeError("Expected EmpiricalGaussianPrior to be resolved for a posterior; call resolve(mu, rho) first.")

    def resolve(self, mu: Array, rho: Array, mask: Array | None = None) -> GaussianPrior:
        """Find the Gaussian prior nearest to the posterior.

        Args:
            mu, rho: parameters of the posterior q = N(mu, softplus(rho)^2).
            mask: booleans that are False for weights to leave out, or None.
        Returns:
            The Gaussian prior that minimises KL(q || p) over its scale.
        """
        self.check_fits(mu)
        mu, rho = jax.lax.stop_gradient((mu, rho))
        distance = jnp.hypot(sigma_from_rho(rho), at_least_float32(mu) - self.mu)
        count = distance.size
        if mask is not None:
            distance, count = jnp.where(mask, distance, 0.0), jnp.maximum(jnp.sum(mask), 1)
        # Division by the largest distance keeps squares from overflow and underflow. If no weight is left, any scale
        # will do.
        largest = jnp.max(distance)
        largest = jnp.where(largest > 0.0, largest, 1.0)
        ratio = distance / largest
        mean_square = jnp.sum(jnp.square(ratio)) / count
        sigma = largest * jnp.sqrt(jnp.where(mean_square > 0.0, mean_square, 1.0))
        return GaussianPrior().unchecked(mu=self.mu, sigma=sigma)
