"""Scale mixture prior of a wide and a narrow Gaussian.

The narrow Gaussian concentrates many weights near 0.

Source: Blundell et al. 2015, arXiv 1505.05424, equation 7.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike

from deepuq_jax._checks import check_positive, expected
from deepuq_jax.functional.gaussian import at_least_float32, gaussian_log_prob
from deepuq_jax.priors._numbers import Numbers
from deepuq_jax.priors.base import Prior

# This value is in the middle of the range that Blundell et al. searched.
_NARROW = math.exp(-7.0)


@jax.tree_util.register_pytree_with_keys_class
@dataclass(frozen=True)
class ScaleMixturePrior(Numbers, Prior):
    """Independent scale mixture prior of two Gaussians.

    p(w) = pi N(w; 0, sigma1^2) + (1 - pi) N(w; 0, sigma2^2)

    The KL has no closed form. It is estimated at a draw of the weights; under weight sampling, the likelihood is
    evaluated at the same draw. Blundell et al. searched pi in {1/4, 1/2, 3/4}, -log sigma1 in {0, 1, 2} and -log sigma2
    in {6, 7, 8}.

    Args:
        pi: weight of the first component, between 0 and 1; a number or an array that broadcasts to the weights.
        sigma1, sigma2: positive standard deviations, numbers or arrays that broadcast to the weights.
    Raises:
        ValueError: a sigma is not finite and positive, or pi is outside (0, 1). TypeError: an argument is not a number
            or an array.

    >>> prior = ScaleMixturePrior(pi=0.5, sigma1=1.0, sigma2=0.1)
    >>> float(prior.log_prob(jnp.zeros(1)))  # log (5.5 / sqrt(2 pi))
    0.7858...
    """

    SCALES: ClassVar[tuple[str, ...]] = ("sigma1", "sigma2")

    pi: ArrayLike = 0.5
    sigma1: ArrayLike = 1.0
    sigma2: ArrayLike = _NARROW

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("prior pi", self.pi)
        if not isinstance(self.pi, Tracer) and not (np.asarray(self.pi) < 1).all():
            raise ValueError(expected("prior pi", "to be between 0 and 1", f"{self.pi!r}"))

    def log_prob(self, w: Array) -> Array:
        """Compute log p(w) in nats, summed over the tensor."""
        self.check_fits(w)
        w = at_least_float32(w)
        pi, sigma1, sigma2 = (jnp.asarray(value, w.dtype) for value in (self.pi, self.sigma1, self.sigma2))
        first = jnp.log(pi) + gaussian_log_prob(w, 0.0, sigma1)
        second = jnp.log1p(-pi) + gaussian_log_prob(w, 0.0, sigma2)
        # gap equals second - first, but is computed by a formula of its own. Far in the tails, subtracting the two log
        # densities would lose all digits, and with them the share of each component, on which the gradient depends.
        precision = (sigma1 - sigma2) / sigma1 / sigma2 * ((sigma1 + sigma2) / sigma1 / sigma2)
        gap = jnp.log1p(-pi) - jnp.log(pi) + jnp.log(sigma1 / sigma2) - 0.5 * precision * jnp.square(w)
        return jnp.sum(jnp.maximum(first, second) + jnp.log1p(jnp.exp(-jnp.abs(gap))))
