"""Likelihood of real targets with unspecified noise."""

from __future__ import annotations

from dataclasses import dataclass

from jax import Array

from deepuq_jax._checks import expected
from deepuq_jax.functional.likelihood import mean_squared_error
from deepuq_jax.likelihoods.base import Likelihood


@dataclass(frozen=True)
class UnknownNoise(Likelihood):
    """Real targets with unspecified noise, which have no density.

    It is the default likelihood of regressors. With it, `vi_elbo_step` scores by mean squared error, as Deep-UQ does,
    and `predict_vi_uq` returns no aleatoric variance. An objective in nats refuses it and names the alternatives.

    >>> import jax.numpy as jnp
    >>> UnknownNoise().criterion(jnp.array([[1.0], [3.0]]), jnp.zeros((2, 1)))
    Array(5., dtype=float32)
    """

    has_density = False
    has_fixed_noise = True
    keeps_draws = False

    def log_prob(self, outputs: Array, y: Array) -> Array:
        """Refuse to compute a density.

        Raises:
            ValueError: always, since a density needs specified noise.
        """
        what = "for a regression model that does not name its noise, such as Gaussian(sigma)"
        raise ValueError(expected("log_likelihood", what, "None"))

    def moments(self, outputs: Array) -> tuple[Array, None]:
        """The outputs as means, and None for a variance."""
        return outputs, None

    def criterion(self, outputs: Array, y: Array) -> Array:
        """Return the mean squared error."""
        return mean_squared_error(outputs, y)
