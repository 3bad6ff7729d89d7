"""Local reparameterization: noise on a layer's outputs in place of its weights.

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
    """`local_reparameterization` where weights are shared over positions (convolutions, sequences): an approximation.

    Each output has its exact mean and variance; the covariances between positions of one example, which shared weights
    have, are lost (Shridhar, Laumann & Liwicki 2019, arXiv 1901.02731, do this). `flipout` keeps them.

    Args:
        op, x, kernel, bias, noise: as in `local_reparameterization`; `x` may have any axes.
    Returns:
        outputs [..., out_features], in the dtype of op.

    >>> from deepuq_jax import GaussianPosterior
    >>> q = GaussianPosterior(jnp.ones((2, 1)), jnp.zeros((2, 1)))
    >>> approximate_local_reparameterization(jnp.matmul, jnp.ones((1, 3, 2)), q, None, jnp.zeros((1, 3, 1))).shape
    (1, 3, 1)
    """

    def draw_noise(self, op: Op, x: Any, kernel: Any, bias: Any | None, *, key: Array) -> Array:
        """One standard normal per output."""
        del bias
        return normal_like(key, jax.eval_shape(op, x, kernel.mu))

    def __call__(self, op: Op, x: Array, kernel: Any, bias: Any | None, noise: Array) -> Array:
        """Outputs drawn from their own Gaussians."""
        mean = op(x, kernel.mu)
        variance = op(jnp.square(x), jnp.square(kernel.sigma))
        if bias is not None:
            mean = add_bias(mean, bias.mu)
            variance = add_bias(variance, jnp.square(bias.sigma))
        if noise.shape != mean.shape:
            raise ValueError(expected("noise", f"of shape {list(mean.shape)}, one number per output", noise))
        # The square root has no slope at 0, where a row of zeros without a bias is: its gradient there is 0.
        is_random = variance > 0.0
        std = jnp.where(is_random, jnp.sqrt(jnp.where(is_random, variance, 1.0)), 0.0)
        return mean + std * noise.astype(mean.dtype)


@dataclass(frozen=True)
class LocalReparameterization(ApproximateLocalReparameterization):
    """Outputs drawn from their own Gaussians, each example for itself: training gradients of less variance.

    y ~ N(op(x, mu_W) + mu_b, op(x^2, sigma_W^2) + sigma_b^2)

    Exact in law where a weight meets an example once, a dense layer on [batch, in_features]; anything else is refused.
    A draw is no function of x: equal rows of a batch get different outputs. `predict_vi_uq` and `draw` therefore draw
    weights instead, whose outputs have the same law at each single x.

    Args:
        op: the layer's linear map of `x` and a kernel, which casts both to the compute dtype.
        x: inputs [batch, in_features].
        kernel, bias: posteriors; `bias` may be None.
        noise: the shape of the outputs.
    Returns:
        outputs [batch, out_features], in the dtype of op.
    Raises:
        ValueError: an `x` of more axes.

    >>> from deepuq_jax import GaussianPosterior
    >>> q = GaussianPosterior(jnp.ones((2, 1)), jnp.zeros((2, 1)))
    >>> local_reparameterization(jnp.matmul, jnp.ones((1, 2)), q, None, jnp.zeros((1, 1)))
    Array([[2.]], dtype=float32)
    """

    def draw_noise(self, op: Op, x: Any, kernel: Any, bias: Any | None, *, key: Array) -> Array:
        """One standard normal per output, once no weight is known to be shared."""
        _refuse_shared(x)
        return super().draw_noise(op, x, kernel, bias, key=key)

    def __call__(self, op: Op, x: Array, kernel: Any, bias: Any | None, noise: Array) -> Array:
        """Outputs drawn from their own Gaussians."""
        _refuse_shared(x)
        return super().__call__(op, x, kernel, bias, noise)


local_reparameterization = LocalReparameterization()
approximate_local_reparameterization = ApproximateLocalReparameterization()


def _refuse_shared(x: Array) -> None:
    """Refuse an input with more axes than [batch, in_features]: each further axis shares the weights."""
    if x.ndim > 2:
        what = (
            "to have shape [batch, in_features] with local_reparameterization (where weights are shared over "
            "positions, flipout is exact and approximate_local_reparameterization has the variances alone)"
        )
        raise ValueError(expected("x", what, x))
