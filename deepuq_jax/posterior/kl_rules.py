"""How the KL of a posterior is computed: in closed form, at a draw, or at a draw with the gradient of its path."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax.functional.gaussian import HALF_LOG_2PI, gaussian_log_prob, log_sigma, sigma_from_rho
from deepuq_jax.priors.base import Prior
from deepuq_jax.priors.tree import PriorTree


@dataclass(frozen=True)
class KLRule:
    """How the KL of a posterior is computed: in closed form wherever the prior has one."""

    def needs_draw(self, prior: Prior | PriorTree) -> bool:
        """Whether the KL to this prior is an estimate, log q(w) - log p(w) at a draw w."""
        return not prior.has_closed_form_kl

    def log_q(self, w: Array, noise: Array, mu: Array, rho: Array) -> Array:
        """log q(w) at the draw w = mu + sigma * noise, element by element.

        log N(w; mu, sigma^2) = -noise^2 / 2 - log sigma - log(2 pi) / 2, where nothing is divided by sigma.
        """
        del w, mu
        return -0.5 * jnp.square(noise) - log_sigma(rho) - HALF_LOG_2PI

    @property
    def reason(self) -> str:
        """Why a draw is needed, for an error message."""
        return "has no closed form"


IN_CLOSED_FORM = KLRule()


@dataclass(frozen=True)
class AtDraw(KLRule):
    """The KL is always the estimate at a draw."""

    def needs_draw(self, prior: Prior | PriorTree) -> bool:
        """It is."""
        return True

    @property
    def reason(self) -> str:
        """Why a draw is needed, for an error message."""
        return "is estimated at a draw"


@dataclass(frozen=True)
class AlongPath(AtDraw):
    """The estimate at a draw, whose gradient flows through the draw alone.

    The gradient of log q with respect to its own parameters has mean 0 and is left out (Roeder, Wu & Duvenaud 2017,
    arXiv 1703.09194).
    """

    def log_q(self, w: Array, noise: Array, mu: Array, rho: Array) -> Array:
        """log q(w) as a function of w alone: the parameters of q are constants in it."""
        del noise
        return log_density(w, *jax.lax.stop_gradient((mu, rho)))


def log_density(w: Array, mu: Array, rho: Array) -> Array:
    """log N(w; mu, softplus(rho)^2), element by element."""
    return gaussian_log_prob(w, mu, sigma_from_rho(rho), log_sigma(rho))
