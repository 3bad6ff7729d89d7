"""A likelihood of targets in other units than its model's outputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from deepuq_jax.functional.gaussian import at_least_float32
from deepuq_jax.likelihoods.base import Likelihood


@dataclass(frozen=True)
class Rescaled(Likelihood):
    """The likelihood of y = mean + scale * z, where z follows another likelihood.

    log p(y | outputs) = log p_z((y - mean) / scale | outputs) - sum_d log scale_d

    Predictions, quantiles and log-probabilities are in units of y. `deepuq_jax.Standardized` uses it.

    Args:
        likelihood: the likelihood of z, a real target.
        mean, scale: a number per target d, the last axis of y.

    >>> from deepuq_jax.likelihoods import Gaussian
    >>> Rescaled(Gaussian(0.1), (5.0,), (2.0,)).moments(jnp.array([[1.0]]))
    (Array([[7.]], dtype=float32), Array([[0.04]], dtype=float32))
    """

    likelihood: Likelihood
    mean: tuple[float, ...]
    scale: tuple[float, ...]

    def __post_init__(self) -> None:
        # The mean is not the output itself, so the moments of the outputs do not suffice for a prediction.
        self._take_traits(self.likelihood, but=("has_fixed_noise",))

    def log_prob(self, outputs: Any, y: Any) -> Array:
        """Compute log p(y | outputs) in nats per example, [batch]."""
        positions = math.prod(jnp.shape(y)[1:-1])
        jacobian = positions * float(np.sum(np.log(self.scale)))
        return self.likelihood.log_prob(outputs, self._standard(y)) - jacobian

    def log_prob_per_target(self, outputs: Any, y: Any) -> Array:
        """Compute the terms of `log_prob`, of the shape of `y`."""
        terms = self.likelihood.log_prob_per_target(outputs, self._standard(y))
        return terms - jnp.log(self._of_targets(self.scale, terms))

    def moments(self, outputs: Any) -> tuple[Array, Array | None]:
        """Return the predicted mean, and the variance of the noise, in units of y."""
        mean, var = self.likelihood.moments(outputs)
        mean = at_least_float32(mean)
        return self._own_units(mean), None if var is None else var * self._of_targets(self.scale, var) ** 2

    def sample(self, outputs: Any, *, key: Array) -> Array:
        """Draw targets in units of y."""
        return self._own_units(self.likelihood.sample(outputs, key=key))

    def cdf(self, outputs: Any, t: Any) -> Array:
        """Compute P(y <= t | outputs) per target."""
        return self.likelihood.cdf(outputs, self._standard(t))

    def quantile(self, outputs: Any, p: Any) -> Array:
        """Compute the quantiles in units of y."""
        return self._own_units(self.likelihood.quantile(outputs, p))

    def criterion(self, outputs: Any, y: Any) -> Array:
        """Return the inner criterion of the standardized targets."""
        return self.likelihood.criterion(outputs, self._standard(y))

    def pooled(self, outputs: Any, y: Any, share: Any, weights: Any = None) -> Any:
        """Return outputs whose noise is pooled over the batch."""
        return self.likelihood.pooled(outputs, self._standard(y), share, weights)

    def _standard(self, y: Any) -> Any:
        """Standardize targets; NumPy arrays stay concrete for the checks of targets."""
        y = y if isinstance(y, np.ndarray) else jnp.asarray(y)
        return (y - self._of_targets(self.mean, y)) / self._of_targets(self.scale, y)

    def _own_units(self, z: Array) -> Array:
        return self._of_targets(self.mean, z) + self._of_targets(self.scale, z) * z

    def _of_targets(self, numbers: tuple[float, ...], like: Any) -> Any:
        """Return numbers that broadcast against targets, in their dtype."""
        dtype = like.dtype if jnp.issubdtype(like.dtype, jnp.floating) else np.float32
        values = np.asarray(numbers, dtype)
        return values.reshape((1,) * (like.ndim - 1) + (-1,)) if like.ndim > 1 else values
