"""Outputs with a mean and a raw variance per target."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import expected
from deepuq_jax.functional.likelihood import heteroscedastic_nll, variance_from_raw


class HeteroscedasticOutputs:
    """Methods for outputs of means and raw variances.

    A prediction holds `output_dim` means, then as many raw variances.
    """

    output_dim: int

    def split_prediction(self, prediction: Array) -> tuple[Array, Array]:
        """Split outputs into means and raw variances.

        Args:
            prediction: [..., 2 output_dim].
        Returns:
            (means, raw variances), each [..., output_dim].
        Raises:
            ValueError: the last axis has another size.
        """
        size = 2 * self.output_dim
        if jnp.ndim(prediction) < 1 or prediction.shape[-1] != size:
            what = f"to have shape [..., {size}]: {self.output_dim} means, then as many raw variances"
            raise ValueError(expected("prediction", what, prediction))
        mean, raw_var = jnp.split(prediction, 2, axis=-1)
        return mean, raw_var

    def predictive_variance(self, raw_var: Array) -> Array:
        """Compute the noise variance softplus(raw_var) + 1e-6.

        The result is a variance, not a standard deviation, and has the shape of `raw_var`.
        """
        return variance_from_raw(raw_var)

    def nll(self, prediction: Array, target: Array) -> Array:
        """Compute Deep-UQ's Gaussian negative log likelihood, a scalar.

        1/2 ((y - m)^2 / v + log v), summed over targets and averaged over the other axes, as in `vi_elbo_step`. It
        leaves out the constant 1/2 log(2 pi) nats per target, which `negative_elbo` includes.

        Args:
            prediction: [..., 2 output_dim].
            target: [..., output_dim].
        Raises:
            ValueError: a shape differs; nothing is broadcast.
        """
        self.split_prediction(prediction)
        return heteroscedastic_nll(prediction, target)
