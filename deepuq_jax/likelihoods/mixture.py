"""The predictive distribution: a mixture over draws of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import check_key
from deepuq_jax._pytree import register
from deepuq_jax.functional.gaussian import at_least_float32
from deepuq_jax.functional.quantiles import invert_cdf
from deepuq_jax.likelihoods.base import Likelihood, central_interval, per_example


@register(static=("likelihood",))
@dataclass(frozen=True)
class PredictiveMixture:
    """The predictive distribution p(y | x) = (1/S) sum_s p(y | outputs_s).

    A regression result of `predict_vi_uq` holds it as `mixture` if the likelihood is not a Gaussian. It is exact for
    the S draws of the prediction: quantiles invert the mean of the distribution functions of the draws.

    Args:
        outputs: outputs of the draws, a pytree of arrays [batch, S, ...].
        likelihood: the likelihood of plain targets.

    >>> from deepuq_jax.likelihoods import Poisson
    >>> mixture = PredictiveMixture(jnp.log(jnp.array([[[1.0], [9.0]]])), Poisson())
    >>> [bound.tolist() for bound in mixture.interval(0.9)]
    [[[0.0]], [[13.0]]]
    """

    outputs: Any
    likelihood: Likelihood

    def log_prob(self, y: Any) -> Array:
        """Compute the log predictive density of plain targets in nats, [batch]."""
        return _log_prob(self, y)

    def cdf(self, t: Any) -> Array:
        """Compute P(y <= t) per target, for points `t` of the shape of the targets."""
        return _mean_cdf(self, at_least_float32(t))

    def quantile(self, p: Any) -> Array:
        """Compute the smallest t with P(y <= t) >= p per target."""
        return _quantile(self, p)

    def interval(self, level: Any = 0.95) -> tuple[Array, Array]:
        """Compute the central interval (lower, upper), as `Likelihood.interval` does."""
        return central_interval(self.quantile, level)

    def sample(self, *, key: Array) -> Array:
        """Draw a target per draw of the model, [S, batch, ...].

        The samples suit `metrics.crps_from_draws`. For more samples, predict with more draws.
        """
        check_key(key)
        return _sample(self, key)


@jax.jit
def _log_prob(mixture: PredictiveMixture, y: Any) -> Array:
    def of_draw(outputs: Any) -> Array:
        return per_example(mixture.likelihood, outputs, y)

    values = jax.vmap(of_draw, in_axes=1)(mixture.outputs)
    return jax.nn.logsumexp(values, axis=0) - jnp.log(jnp.asarray(values.shape[0], values.dtype))


@jax.jit
def _mean_cdf(mixture: PredictiveMixture, t: Array) -> Array:
    def of_draw(outputs: Any) -> Array:
        return mixture.likelihood.cdf(outputs, t)

    return jnp.mean(jax.vmap(of_draw, in_axes=1)(mixture.outputs), axis=0)


@jax.jit
def _quantile(mixture: PredictiveMixture, p: Any) -> Array:
    def mean_of_first(outputs: Any) -> Array:
        return at_least_float32(mixture.likelihood.moments(outputs)[0])

    first = jax.tree.map(lambda leaf: leaf[:, 0], mixture.outputs)
    like = jax.eval_shape(mean_of_first, first)
    p = jnp.broadcast_to(p, like.shape)
    return invert_cdf(lambda t: _mean_cdf(mixture, t), p, like.dtype, mixture.likelihood.is_discrete)


@jax.jit
def _sample(mixture: PredictiveMixture, key: Array) -> Array:
    keys = jax.random.split(key, jax.tree.leaves(mixture.outputs)[0].shape[1])

    def of_draw(outputs: Any, key: Array) -> Array:
        return mixture.likelihood.sample(outputs, key=key)

    return jax.vmap(of_draw, in_axes=(1, 0))(mixture.outputs, keys)
