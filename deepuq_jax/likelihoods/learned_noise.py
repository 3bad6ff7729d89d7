"""Likelihoods of real targets with Gaussian noise in the outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import Array

from deepuq_jax._arguments import real_arrays
from deepuq_jax.functional.likelihood import heteroscedastic_log_densities, heteroscedastic_nll, split_mean_variance
from deepuq_jax.likelihoods.gaussian import GaussianLikelihood


class LearnedNoiseGaussian(GaussianLikelihood):
    """Gaussian likelihood with means and variances in the outputs.

    log p(y | outputs) = sum_d log N(y_d; m_d, softplus(v_d) + 1e-6)

    The targets are [batch, d]. The outputs are [batch, 2 d]: d means m, then d raw variances v.
    """

    predicts_noise = True
    pools_noise = True

    @real_arrays("outputs", "y", broadcast=False, min_axes=1)
    def log_prob_per_target(self, outputs: Array, y: Array) -> Array:
        """Log density of each target in nats, of the shape of `y`."""
        return heteroscedastic_log_densities(outputs, y)

    @real_arrays("outputs", min_axes=1)
    def moments(self, outputs: Array) -> tuple[Array, Array]:
        """Means and variances, each [batch, d]."""
        return split_mean_variance(outputs)

    def pooled(self, outputs: Any, y: Any, share: Any, weights: Any = None) -> Array:
        """Pool the raw variances over the batch, and keep the means."""
        del y
        mean, raw_var = jnp.split(jnp.asarray(outputs), 2, axis=-1)
        return jnp.concatenate([mean, _pooled(raw_var, share, weights)], axis=-1)

    def criterion(self, outputs: Array, y: Array) -> Array:
        """Return the score of Deep-UQ with predicted noise.

        It is sum_d 1/2 ((y_d - m_d)^2 / v_d + log v_d), averaged over the batch, with variances v.
        """
        return heteroscedastic_nll(outputs, y)


def _pooled(raw_var: Array, share: Any, weights: Any) -> Array:
    """Mix each raw variance with the mean over the batch, in the ratio share to 1 - share.

    Args:
        raw_var: raw variances [batch, ..., d].
        share: a number from 0 to 1.
        weights: weights of the mean, [batch] or of the shape of `raw_var`, or None for equal weights.
    """
    weights = jnp.ones_like(raw_var) if weights is None else jnp.asarray(weights, raw_var.dtype)
    weights = jnp.broadcast_to(weights.reshape(weights.shape + (1,) * (raw_var.ndim - weights.ndim)), raw_var.shape)
    axes = tuple(range(raw_var.ndim - 1))
    # A batch of zero weights has no likelihood, so its mean may be any finite number.
    total = jnp.maximum(weights.sum(axes, keepdims=True), jnp.finfo(raw_var.dtype).tiny)
    # An example of weight 0 is left out whatever its raw variance, which may be infinite.
    pooled = jnp.where(weights > 0, weights * raw_var, 0.0).sum(axes, keepdims=True) / total
    return share * raw_var + (1.0 - share) * pooled


@dataclass(frozen=True)
class HeteroscedasticGaussian(LearnedNoiseGaussian):
    """Gaussian likelihood with noise that depends on the input.

    The targets are [batch, d], and the outputs [batch, 2 d] hold means, then raw variances.

    >>> import jax.numpy as jnp
    >>> mean, var = HeteroscedasticGaussian().moments(jnp.zeros((4, 6)))
    >>> mean.shape, var.shape
    ((4, 3), (4, 3))
    """

    heteroscedastic = True


@dataclass(frozen=True)
class HomoscedasticGaussian(LearnedNoiseGaussian):
    """Gaussian likelihood with the same learned noise for every input.

    The targets are [batch, d], and the outputs [batch, 2 d] hold means, then the raw variances that `LearnedNoise`
    appends.

    >>> HomoscedasticGaussian().heteroscedastic, HomoscedasticGaussian().predicts_noise
    (False, True)
    """
