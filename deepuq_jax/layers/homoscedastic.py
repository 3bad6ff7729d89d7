"""Regression with learned noise that is constant over the inputs.

Source: Blundell et al. 2015, arXiv 1505.05424, for the network; the noise is a maximum-likelihood parameter beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Unpack

import jax.numpy as jnp
from flax import nnx
from jax import Array

from deepuq_jax._checks import check_last_axis, check_size
from deepuq_jax.functional.likelihood import MIN_VARIANCE
from deepuq_jax.layers.heteroscedastic import HeteroscedasticOutputs
from deepuq_jax.layers.mlp import BayesByBackpropMLP
from deepuq_jax.layers.options import REGRESSION_DEFAULTS, LayerOptions
from deepuq_jax.likelihoods import HomoscedasticGaussian

# Solves softplus(raw) + MIN_VARIANCE = 1: at the start, all variance of standardized targets counts as noise.
INITIAL_RAW_VARIANCE = math.log(math.expm1(1.0 - MIN_VARIANCE))


class LearnedNoise(nnx.Module):
    """Append a trained raw variance per target to the means.

    y_d ~ N(m_d, softplus(raw_var_d) + 1e-6), as `HomoscedasticGaussian` reads the outputs. The raw variances are the
    same for every input, and the variance starts at 1. Use this layer as the last member of a `Sequential` whose other
    members compute the means. The layer has no posterior and does not enter the KL.

    `LogNormal()` reads the same outputs as means and variances of log y, and `NegativeBinomial()` as log means and
    dispersions.

    Args:
        output_dim: number of targets.
        param_dtype: dtype of `raw_var` [output_dim].

    >>> LearnedNoise(2)(jnp.zeros((5, 2))).shape
    (5, 4)
    """

    def __init__(self, output_dim: int, *, param_dtype: Any = jnp.float32):
        self.output_dim: int = check_size("output_dim", output_dim)
        self.raw_var: nnx.Param[Array] = nnx.Param(jnp.full(self.output_dim, INITIAL_RAW_VARIANCE, param_dtype))

    def __call__(self, means: Array) -> Array:
        """Return means and raw variances, [..., 2 output_dim]."""
        check_last_axis("means", means, self.output_dim)
        raw_var = jnp.broadcast_to(self.raw_var[...].astype(means.dtype), means.shape)
        return jnp.concatenate([means, raw_var], axis=-1)


class HomoscedasticBayesByBackpropRegressor(HeteroscedasticOutputs, BayesByBackpropMLP):
    """Bayesian MLP for regression with learned, constant noise.

    y_d ~ N(m_d, softplus(raw_var_d) + 1e-6). The outputs are the means followed by the raw variances,
    [batch, 2 output_dim]. The raw variances are the same for every input. `raw_var` is an ordinary parameter: it has no
    posterior and does not enter the KL. The variance starts at 1.

    Args:
        input_dim: size of x's last axis.
        hidden_dims: sizes of the hidden layers; () gives a single affine layer.
        output_dim: number of targets.
        activation: "relu" (the default of Deep-UQ is "tanh"), "gelu", "tanh", "silu" or a callable.
        estimator: as in `BayesianLinear`, but `local_reparameterization` by default, with which `fit` uses natural
            gradients. Inputs with further axes need another, such as `flipout`.
        prior, kernel_init, sigma_init, param_dtype, dtype, rngs: as in `BayesianLinear`.
    Raises:
        ValueError, TypeError: as in `BayesByBackpropMLP`.

    >>> import jax
    >>> from deepuq_jax import predict_vi_uq
    >>> model = HomoscedasticBayesByBackpropRegressor(3, (8,), rngs=nnx.Rngs(0))
    >>> result = predict_vi_uq(model, jnp.ones((4, 3)), key=jax.random.key(0))
    >>> [round(float(var), 4) for var in result.aleatoric_var[:, 0]], result.metadata["heteroscedastic"]
    ([1.0, 1.0, 1.0, 1.0], False)
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dims: Sequence[int] = (64, 64),
        output_dim: int = 1,
        *,
        activation: Callable[..., Any] | str = "relu",
        rngs: nnx.Rngs,
        **options: Unpack[LayerOptions],
    ):
        self.output_dim: int = check_size("output_dim", output_dim)
        super().__init__(
            input_dim,
            hidden_dims,
            output_dim,
            activation=activation,
            likelihood=HomoscedasticGaussian(),
            rngs=rngs,
            **REGRESSION_DEFAULTS | options,
        )
        self.layers.append(LearnedNoise(output_dim, param_dtype=options.get("param_dtype", jnp.float32)))
