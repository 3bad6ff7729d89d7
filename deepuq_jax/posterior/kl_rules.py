"""Rules for computing the KL of a posterior.

The KL is computed in closed form, estimated at a draw, or estimated at a draw with the gradient of the draw's path.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax.functional.gaussian import HALF_LOG_2PI, gaussian_log_prob, log_sigma, sigma_from_rho
from deepuq_jax.functional.scale import Scale, log_of_scale
from deepuq_jax.priors.base import Prior
from deepuq_jax.priors.tree import PriorTree


@dataclass(frozen=True)
class KLRule:
    """Compute the KL in closed form whenever it exists.

    Otherwise, the KL is estimated at a draw. The subclasses estimate it at a draw for every prior.
    """

    def needs_draw(self, prior: Prior | PriorTree) -> bool:
        """Whether the KL is estimated at a draw.

        The estimate is log q(w) - log p(w) at a draw w.
        """
        return not prior.has_closed_form_kl

    def log_q(self, w: Array, noise: Array, mu: Array, rho: Array, scale: Scale) -> Array:
        """Compute log q(w), element by element.

        At the draw w = mu + sigma * noise, log N(w; mu, sigma^2) = -noise^2 / 2 - log sigma - log(2 pi) / 2, which
        avoids a division by sigma.
        """
        del w, mu
        logarithm = log_of_scale(scale) if scale.is_normal else log_sigma(rho)
        return -0.5 * jnp.square(noise) - logarithm - HALF_LOG_2PI

    @property
    def reason(self) -> str:
        """Why a draw is needed, for an error message."""
        return "has no closed form"


IN_CLOSED_FORM = KLRule()


@dataclass(frozen=True)
class AtDraw(KLRule):
    """Estimate the KL at a draw, for every prior."""

    def needs_draw(self, prior: Prior | PriorTree) -> bool:
        """True."""
        return True

    @property
    def reason(self) -> str:
        """Why a draw is needed, for an error message."""
        return "is estimated at a draw"


@dataclass(frozen=True)
class AlongPath(AtDraw):
    """Estimate the KL with the gradient of the draw's path.

    The gradient of log q with respect to its own parameters, at a fixed draw, has mean 0 and is left out.

    Source: Roeder, Wu & Duvenaud 2017, arXiv 1703.09194.
    """

    def log_q(self, w: Array, noise: Array, mu: Array, rho: Array, scale: Scale) -> Array:
        """Compute log q(w) with the parameters of q as constants."""
        del noise, scale
        return log_density(w, *jax.lax.stop_gradient((mu, rho)))


def log_density(w: Array, mu: Array, rho: Array) -> Array:
    """Compute log N(w; mu, softplus(rho)^2), element by element."""
    return gaussian_log_prob(w, mu, sigma_from_rho(rho), log_sigma(rho))
