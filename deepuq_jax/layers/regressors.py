"""Bayesian regressors for several targets and input-dependent noise.

Source: Blundell et al. 2015, arXiv 1505.05424; for the noise Kendall & Gal 2017, arXiv 1703.04977.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Unpack

from flax import nnx

from deepuq_jax._checks import check_size
from deepuq_jax.layers.heteroscedastic import HeteroscedasticOutputs
from deepuq_jax.layers.mlp import BayesByBackpropMLP
from deepuq_jax.layers.options import REGRESSION_DEFAULTS, LayerOptions
from deepuq_jax.likelihoods import HeteroscedasticGaussian, UnknownNoise


class MultiOutputBayesByBackpropRegressor(BayesByBackpropMLP):
    """Bayesian MLP for several real targets with constant noise.

    y = f(x, w) + noise. The outputs are the means, [batch, output_dim].

    Unless a likelihood is given, `vi_elbo_step` uses the mean squared error, and `ELBO` (the default objective of
    `fit`) refuses the model and asks for a likelihood.

    Args:
        input_dim, output_dim: sizes of the last axis of x and of y, positive ints.
        hidden_dims: sizes of the hidden layers; () gives a single affine layer.
        activation: "relu" (the default of Deep-UQ is "tanh"), "gelu", "tanh", "silu" or a callable.
        likelihood: `Gaussian(sigma)` if the noise is known.
        prior, estimator, kernel_init, sigma_init, param_dtype, dtype, rngs: as in `BayesianLinear`.
    Raises:
        ValueError, TypeError: as in `BayesByBackpropMLP`.

    >>> import jax.numpy as jnp
    >>> model = MultiOutputBayesByBackpropRegressor(3, 2, (8,), rngs=nnx.Rngs(0))
    >>> model(jnp.ones((4, 3))).shape
    (4, 2)
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        hidden_dims: Sequence[int] = (64, 64),
        *,
        activation: Callable[..., Any] | str = "relu",
        likelihood: Any = UnknownNoise(),
        rngs: nnx.Rngs,
        **options: Unpack[LayerOptions],
    ):
        super().__init__(
            input_dim, hidden_dims, output_dim, activation=activation, likelihood=likelihood, rngs=rngs, **options
        )


class HeteroscedasticMultiOutputBayesByBackpropRegressor(HeteroscedasticOutputs, BayesByBackpropMLP):
    """Bayesian MLP that predicts several targets and their noise.

    y_d ~ N(m_d, softplus(v_d) + 1e-6). The outputs are the means followed by the raw variances v,
    [batch, 2 output_dim].

    Args:
        input_dim, output_dim: size of x's last axis and number of targets, positive ints.
        hidden_dims: sizes of the hidden layers; () gives a single affine layer.
        activation: "relu" (the default of Deep-UQ is "tanh"), "gelu", "tanh", "silu" or a callable.
        estimator: as in `BayesianLinear`, but `local_reparameterization` by default, with which `fit` uses natural
            gradients. Inputs with further axes need another, such as `flipout`.
        prior, kernel_init, sigma_init, param_dtype, dtype, rngs: as in `BayesianLinear`.
    Raises:
        ValueError, TypeError: as in `BayesByBackpropMLP`.

    >>> import jax.numpy as jnp
    >>> model = HeteroscedasticMultiOutputBayesByBackpropRegressor(3, 2, (8,), rngs=nnx.Rngs(0))
    >>> mean, raw_var = model.split_prediction(model(jnp.ones((4, 3))))
    >>> mean.shape, model.predictive_variance(raw_var).shape
    ((4, 2), (4, 2))
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        hidden_dims: Sequence[int] = (64, 64),
        *,
        activation: Callable[..., Any] | str = "relu",
        rngs: nnx.Rngs,
        **options: Unpack[LayerOptions],
    ):
        self.output_dim: int = check_size("output_dim", output_dim)
        likelihood = HeteroscedasticGaussian()
        options = REGRESSION_DEFAULTS | options
        super().__init__(
            input_dim, hidden_dims, 2 * output_dim, activation=activation, likelihood=likelihood, rngs=rngs, **options
        )


class HeteroscedasticBayesByBackpropRegressor(HeteroscedasticMultiOutputBayesByBackpropRegressor):
    """Bayesian MLP with predicted noise, by default for one target.

    y_d ~ N(m_d, softplus(v_d) + 1e-6). The outputs are the means followed by the raw variances v,
    [batch, 2 output_dim].

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
    >>> import jax.numpy as jnp
    >>> from deepuq_jax import predict_vi_uq
    >>> model = HeteroscedasticBayesByBackpropRegressor(3, (8,), rngs=nnx.Rngs(0))
    >>> result = predict_vi_uq(model, jnp.ones((4, 3)), key=jax.random.key(0))
    >>> result.aleatoric_var.shape, result.metadata["heteroscedastic"]
    ((4, 1), True)
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
        super().__init__(input_dim, output_dim, hidden_dims, activation=activation, rngs=rngs, **options)
