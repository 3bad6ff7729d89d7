"""The base class of likelihoods that take a factor beside the targets."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import check_real, expected
from deepuq_jax.functional.likelihood import sum_per_example
from deepuq_jax.likelihoods.base import Likelihood, as_likelihood


@dataclass(frozen=True)
class PairedLikelihood(Likelihood):
    """A likelihood whose targets are a pair (y, factor).

    The factor has the shape [batch], one entry per example, or the shape of `y`, one entry per target. Predictions are
    those of the inner likelihood.

    Args:
        likelihood: a likelihood of the targets `y`.
    """

    likelihood: Likelihood

    def __post_init__(self) -> None:
        inner = as_likelihood(self.likelihood)
        object.__setattr__(self, "likelihood", inner)
        self._take_traits(inner)

    @abstractmethod
    def apply(self, log_probs: Array, factor: Any) -> Array:
        """Apply the factor to log-probabilities of its shape."""

    def log_prob(self, outputs: Any, y: Any) -> Array:
        """Compute the log-probability with the factor applied, [batch]."""
        targets, factor = _pair(y)
        if jnp.ndim(factor) == 1 and jnp.ndim(targets) != 1:
            if jnp.shape(factor) != jnp.shape(targets)[:1]:
                what = f"to hold one entry per example, [{', '.join(map(str, jnp.shape(targets)[:1]))}]"
                raise ValueError(expected("the mask or weights in y", what, factor))
            return self.apply(self.likelihood.log_prob(outputs, self.fill(targets, factor)), factor)
        return sum_per_example(self.log_prob_per_target(outputs, y))

    def log_prob_per_target(self, outputs: Any, y: Any) -> Array:
        """Compute the terms of `log_prob`, for a factor of the shape of the targets."""
        targets, factor = _pair(y)
        if jnp.shape(factor) != jnp.shape(targets):
            what = f"of shape [batch] or of the shape of the targets, {list(jnp.shape(targets))}"
            raise ValueError(expected("the second part of y", what, factor))
        if jnp.ndim(targets) == 1:  # Each example has a single target, so any likelihood serves.
            return self.apply(self.likelihood.log_prob(outputs, self.fill(targets, factor)), factor)
        return self.apply(self.likelihood.log_prob_per_target(outputs, self.fill(targets, factor)), factor)

    def fill(self, targets: Any, factor: Any) -> Any:
        """Return the targets that the inner likelihood sees."""
        del factor
        return targets

    def moments(self, outputs: Any) -> tuple[Array, Array | None]:
        """Return the moments of the inner likelihood."""
        return self.likelihood.moments(outputs)

    def sample(self, outputs: Any, *, key: Array) -> Array:
        """Draw targets of the inner likelihood."""
        return self.likelihood.sample(outputs, key=key)

    def cdf(self, outputs: Any, t: Any) -> Array:
        """Compute P(y <= t | outputs) of the inner likelihood."""
        return self.likelihood.cdf(outputs, t)

    def quantile(self, outputs: Any, p: Any) -> Array:
        """Compute the quantile of the inner likelihood."""
        return self.likelihood.quantile(outputs, p)

    def pooled(self, outputs: Any, y: Any, share: Any, weights: Any = None) -> Any:
        """Return outputs whose noise is pooled over the batch, with the factors as weights."""
        del weights  # A pair holds no other pair, so the factors are the only weights.
        targets, factor = _pair(y)
        return self.likelihood.pooled(outputs, targets, share, factor)

    def of_targets(self) -> Likelihood:
        """Return the inner likelihood."""
        return self.likelihood.of_targets()


def _pair(y: Any) -> tuple[Any, Any]:
    if not isinstance(y, (tuple, list)) or len(y) != 2:
        raise ValueError(expected("y", "to be a pair (targets, mask or weights)", y))
    for name, part in zip(("the targets in y", "the mask or weights in y"), y, strict=True):
        check_real(name, part)
    return y[0], y[1]
