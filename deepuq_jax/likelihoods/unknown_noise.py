"""Real targets whose noise nobody has named."""

from __future__ import annotations

from dataclasses import dataclass

from jax import Array

from deepuq_jax._checks import expected
from deepuq_jax.functional.likelihood import mean_squared_error
from deepuq_jax.likelihoods.base import Likelihood


@dataclass(frozen=True)
class UnknownNoise(Likelihood):
    """Real targets around the outputs, with unnamed noise: a mean squared error and no density.

    Regressors name it by default. `vi_elbo_step` scores it by mean squared error, as documented, and `predict_vi_uq`
    gives it no aleatoric variance; an objective in nats asks for the noise.

    >>> import jax.numpy as jnp
    >>> UnknownNoise().criterion(jnp.array([[1.0], [3.0]]), jnp.zeros((2, 1)))
    Array(5., dtype=float32)
    """

    has_density = False
    has_fixed_noise = True

    def log_prob(self, outputs: Array, y: Array) -> Array:
        """Refused.

        Raises:
            ValueError: always; name the noise.
        """
        what = "for a regression model that does not name its noise, such as Gaussian(sigma)"
        raise ValueError(expected("log_likelihood", what, "None"))

    def moments(self, outputs: Array) -> tuple[Array, None]:
        """The outputs; their noise is unknown."""
        return outputs, None

    def criterion(self, outputs: Array, y: Array) -> Array:
        """Mean squared error."""
        return mean_squared_error(outputs, y)
