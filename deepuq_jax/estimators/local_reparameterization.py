"""Local reparameterization: noise on a layer's outputs.

Source: Kingma, Salimans & Welling 2015, Variational Dropout and the Local Reparameterization Trick, arXiv 1506.02557.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import expected
from deepuq_jax.estimators.base import Estimator, Op, add_bias
from deepuq_jax.noise import normal_like


@dataclass(frozen=True)
class ApproximateLocalReparameterization(Estimator):
    """Approximate local reparameterization for weights shared over positions.

    It extends `local_reparameterization` to convolutions and sequences. Each output has its exact mean and variance.
    The covariances between positions of an example, which shared weights cause, are lost; `flipout` keeps them.

    Args:
        op, x, kernel, bias, noise: as in `local_reparameterization`, but `x` may have any axes.
    Returns:
        outputs [..., out_features], in the dtype of `op`.
    Source: Shridhar, Laumann & Liwicki 2019, arXiv 1901.02731.

    >>> from deepuq_jax import GaussianPosterior
    >>> q = GaussianPosterior(jnp.ones((2, 1)), jnp.zeros((2, 1)))
    >>> approximate_local_reparameterization(jnp.matmul, jnp.ones((1, 3, 2)), q, None, jnp.zeros((1, 3, 1))).shape
    (1, 3, 1)
    """

    def draw_noise(self, op: Op, x: Any, kernel: Any, bias: Any | None, *, key: Array) -> Array:
        """Draw a standard normal number per output."""
        del bias
        return normal_like(key, jax.eval_shape(op, x, kernel.mu))

    def __call__(self, op: Op, x: Array, kernel: Any, bias: Any | None, noise: Array) -> Array:
        """Draw the outputs with the given noise."""
        mean = op(x, kernel.mu)
        variance = op(jnp.square(x), jnp.square(kernel.sigma))
        if bias is not None:
            mean = add_bias(mean, bias.mu)
            variance = add_bias(variance, jnp.square(bias.sigma))
        if noise.shape != mean.shape:
            raise ValueError(expected("noise", f"of shape {list(mean.shape)}, one number per output", noise))
        # The square root has no slope at 0. The variance is 0 for an input row of zeros without a bias, and the
        # gradient there is set to 0.
        is_random = variance > 0.0
        std = jnp.where(is_random, jnp.sqrt(jnp.where(is_random, variance, 1.0)), 0.0)
        return mean + std * noise.astype(mean.dtype)


@dataclass(frozen=True)
class LocalReparameterization(ApproximateLocalReparameterization):
    """Outputs drawn from their Gaussian distribution, per example.

    y ~ N(op(x, mu_W) + mu_b, op(x^2, sigma_W^2) + sigma_b^2)

    The variance of the training gradients is lower than with shared weight draws. The outputs are exact in distribution
    if each weight meets an example once, as in a dense layer on [batch, in_features]; other inputs are refused. A draw
    is not a function of x, since equal rows of a batch get different outputs. `predict_vi_uq` and `draw` therefore draw
    weights instead, whose outputs have the same distribution at each single x.

    Args:
        op: the layer's linear map of `x` and a kernel, which casts both to the compute dtype.
        x: inputs [batch, in_features].
        kernel, bias: posteriors; `bias` may be None.
        noise: standard normal numbers, of the shape of the outputs.
    Returns:
        outputs [batch, out_features], in the dtype of `op`.
    Raises:
        ValueError: `x` has more than two axes.

    >>> from deepuq_jax import GaussianPosterior
    >>> q = GaussianPosterior(jnp.ones((2, 1)), jnp.zeros((2, 1)))
    >>> local_reparameterization(jnp.matmul, jnp.ones((1, 2)), q, None, jnp.zeros((1, 1)))
    Array([[2.]], dtype=float32)
    """

    def draw_noise(self, op: Op, x: Any, kernel: Any, bias: Any | None, *, key: Array) -> Array:
        """Draw a standard normal number per output."""
        _refuse_shared(x)
        return super().draw_noise(op, x, kernel, bias, key=key)

    def __call__(self, op: Op, x: Array, kernel: Any, bias: Any | None, noise: Array) -> Array:
        """Draw the outputs with the given noise."""
        _refuse_shared(x)
        return super().__call__(op, x, kernel, bias, noise)


local_reparameterization: LocalReparameterization = LocalReparameterization()
approximate_local_reparameterization: ApproximateLocalReparameterization = ApproximateLocalReparameterization()


def _refuse_shared(x: Array) -> None:
    """Require inputs [batch, in_features].

    Any further axis would share the weights.
    """
    if x.ndim > 2:
        what = (
            "to have shape [batch, in_features] with local_reparameterization (if weights are shared over "
            "positions, flipout is exact, and approximate_local_reparameterization keeps only the variances)"
        )
        raise ValueError(expected("x", what, x))
