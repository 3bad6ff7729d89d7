"""Real targets with Gaussian noise that the model's outputs hold beside the means."""

from __future__ import annotations

from dataclasses import dataclass

from jax import Array

from deepuq_jax.functional.likelihood import heteroscedastic_log_likelihood, heteroscedastic_nll, split_mean_variance
from deepuq_jax.likelihoods.base import Likelihood


class LearnedNoiseGaussian(Likelihood):
    """Real targets [batch, d] under outputs [batch, 2 d]: d means, then d raw variances.

    log p(y | outputs) = sum_d log N(y_d; m_d, softplus(v_d) + 1e-6)
    """

    predicts_noise = True

    def log_prob(self, outputs: Array, y: Array) -> Array:
        """Log-density of the targets [batch], nats."""
        return heteroscedastic_log_likelihood(outputs, y)

    def moments(self, outputs: Array) -> tuple[Array, Array]:
        """Means and variances, each [batch, d]."""
        return split_mean_variance(outputs)

    def criterion(self, outputs: Array, y: Array) -> Array:
        """1/2 ((y - m)^2 / v + log v), summed over targets, mean over the batch."""
        return heteroscedastic_nll(outputs, y)


@dataclass(frozen=True)
class HeteroscedasticGaussian(LearnedNoiseGaussian):
    """Real targets [batch, d] whose noise the model predicts: outputs [batch, 2 d], means then raw variances.

    >>> import jax.numpy as jnp
    >>> mean, var = HeteroscedasticGaussian().moments(jnp.zeros((4, 6)))
    >>> mean.shape, var.shape
    ((4, 3), (4, 3))
    """

    heteroscedastic = True


@dataclass(frozen=True)
class HomoscedasticGaussian(LearnedNoiseGaussian):
    """Real targets [batch, d] with learned noise that is the same for every input, as `LearnedNoise` appends it.

    >>> HomoscedasticGaussian().heteroscedastic, HomoscedasticGaussian().predicts_noise
    (False, True)
    """
