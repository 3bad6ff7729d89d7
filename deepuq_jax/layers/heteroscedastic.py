"""Input-dependent Gaussian noise: outputs that hold a mean and a raw variance for each target."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import expected
from deepuq_jax.functional.likelihood import heteroscedastic_nll, variance_from_raw


class HeteroscedasticOutputs:
    """What a model with `output_dim` means and as many raw variances can do with its outputs."""

    output_dim: int

    def split_prediction(self, prediction: Array) -> tuple[Array, Array]:
        """Means and raw variances, each [..., output_dim], of outputs [..., 2 output_dim].

        Raises:
            ValueError: a last axis of another size.
        """
        size = 2 * self.output_dim
        if jnp.ndim(prediction) < 1 or prediction.shape[-1] != size:
            what = f"to have shape [..., {size}]: {self.output_dim} means, then as many raw variances"
            raise ValueError(expected("prediction", what, prediction))
        mean, raw_var = jnp.split(prediction, 2, axis=-1)
        return mean, raw_var

    def predictive_variance(self, raw_var: Array) -> Array:
        """Variance of the noise (not a std), softplus(raw_var) + 1e-6, of the same shape."""
        return variance_from_raw(raw_var)

    def nll(self, prediction: Array, target: Array) -> Array:
        """1/2 ((y - m)^2 / v + log v), summed over targets, mean over the rest: a scalar, as `vi_elbo_step` takes it.

        It is 1/2 log(2 pi) a target short of nats; `negative_elbo` has that in.

        Args:
            prediction: [..., 2 output_dim]. target: [..., output_dim].
        Raises:
            ValueError: another shape of either; nothing is broadcast.
        """
        self.split_prediction(prediction)
        return heteroscedastic_nll(prediction, target)
