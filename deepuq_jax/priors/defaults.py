"""The default priors.

They were chosen on validation parts of the training rows of 15 classification sets and five UCI sets, for networks with
one or two hidden layers of 50 or 64 units, among N(0, 1) and gains of 1.5, 2, 3, 4 and 6. In classification, noisy sets
want a narrow prior, and sets with sharp classes a wide one: with a gain of 4, no set is more than 0.06 nats behind its
best gain; with a gain of 2, the largest gap is 0.17 nats, and with N(0, 1) 0.10 nats. In regression under Adam, gains
of 2 to 4 and N(0, 1) have the same mean log-likelihood to 0.01. The prior of Deep-UQ, N(0, 0.1^2), is too narrow for
all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from jax import Array

from deepuq_jax.priors.gaussian import GaussianPrior


@dataclass(frozen=True)
class LayerDefault:
    """The default prior of a layer, which depends on the number of its inputs.

    sigma = gain / sqrt(fan_in), for the kernel and for the bias. A layer thus has one prior, as the layers of
    deepuq_torch do. A gain that is an array becomes a leaf of the priors, as in `GaussianPrior`.

    >>> LayerDefault(4.0).of_kernel((16, 8))
    GaussianPrior(mu=0.0, sigma=1.0)
    """

    gain: float | Array

    def of_kernel(self, shape: Sequence[int]) -> GaussianPrior:
        """Return the prior of a layer with a kernel of this shape, [..., out]."""
        return GaussianPrior(sigma=self.gain / prod(shape[:-1]) ** 0.5)


LAYER_PRIOR = LayerDefault(4.0)
# The prior of the parameters of any network. It is not known which of their axes are inputs, so the scale is constant.
NETWORK_PRIOR = GaussianPrior(sigma=1.0)
