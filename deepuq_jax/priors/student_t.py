"""Student-t prior over weights.

Its tails are heavier than the tails of a Laplace prior, so it hardly shrinks a weight that the data make large.

Source: Fortuin et al. 2022, Bayesian Neural Network Priors Revisited, arXiv 2102.06571.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import betaln
from jax.typing import ArrayLike

from deepuq_jax._checks import check_positive
from deepuq_jax.functional.gaussian import at_least_float32
from deepuq_jax.priors._numbers import Numbers
from deepuq_jax.priors.base import Prior


@jax.tree_util.register_pytree_with_keys_class
@dataclass(frozen=True)
class StudentTPrior(Numbers, Prior):
    """Independent Student-t prior.

    The KL has no closed form. It is estimated at a draw of the weights; under weight sampling, this is the draw of the
    likelihood.

    log p(w) = -(df + 1)/2 log(1 + z^2/df) - log scale - log(df)/2 - log B(1/2, df/2),  z = (w - mu) / scale

    Args:
        df: positive degrees of freedom; 1 gives a Cauchy density, and df -> infinity a Gaussian.
        mu: centre, a number or an array that broadcasts to the weights.
        scale: positive scale, a number or an array that broadcasts to the weights. For df > 2, the standard deviation
            is scale sqrt(df / (df - 2)).
    Raises:
        ValueError: df or scale is not finite and positive, or mu is not finite. TypeError: an argument is not a number
            or an array.

    >>> float(StudentTPrior(df=1.0, scale=1.0).log_prob(jnp.zeros(1)))  # -log pi
    -1.1447...
    """

    SCALES: ClassVar[tuple[str, ...]] = ("scale",)

    df: ArrayLike = 4.0
    mu: ArrayLike = 0.0
    scale: ArrayLike = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("prior df", self.df)

    def log_prob(self, w: Array) -> Array:
        """Compute log p(w) in nats, summed over the tensor."""
        self.check_fits(w)
        deviation = at_least_float32(jnp.subtract(w, self.mu))
        df, scale = (jnp.asarray(value, deviation.dtype) for value in (self.df, self.scale))
        body = -0.5 * (df + 1.0) * jnp.log1p(jnp.square(deviation / scale) / df)
        return jnp.sum(body - jnp.log(scale) - 0.5 * jnp.log(df) - betaln(0.5, 0.5 * df))
