"""Bayesian regressors: several targets, noise that depends on the input, or both.

Source: Blundell et al. 2015, arXiv 1505.05424; for the noise Kendall & Gal 2017, arXiv 1703.04977.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Unpack

from flax import nnx

from deepuq_jax._checks import check_size
from deepuq_jax.layers.heteroscedastic import HeteroscedasticOutputs
from deepuq_jax.layers.mlp import BayesByBackpropMLP
from deepuq_jax.layers.options import LayerOptions
from deepuq_jax.likelihoods import HeteroscedasticGaussian, UnknownNoise


class MultiOutputBayesByBackpropRegressor(BayesByBackpropMLP):
    """MLP of Bayesian layers with several real targets, and noise that is the same everywhere.

    y = f(x, w) + noise: the outputs are the means, [batch, output_dim].

    Unless the noise is named, `vi_elbo_step` takes mean squared error, and `negative_elbo` and `fit` ask for it.

    Args:
        input_dim, output_dim: sizes, positive ints.
        hidden_dims: sizes of the hidden layers; () is one affine layer.
        activation: "relu" (the documented default is "tanh"), "gelu", "tanh", "silu" or a callable.
        likelihood: `Gaussian(sigma)` where the noise is known.
        prior, estimator, kernel_init, sigma_init, param_dtype, dtype, rngs: as in `BayesianLinear`.
    Raises:
        ValueError, TypeError: as `BayesByBackpropMLP`.

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
    """MLP of Bayesian layers with several real targets, and the noise of each predicted.

    y_d ~ N(m_d, softplus(v_d) + 1e-6): the outputs are the means and after them the raw variances v,
    [batch, 2 output_dim].

    Args:
        input_dim, output_dim: sizes, positive ints; `output_dim` counts targets.
        hidden_dims: sizes of the hidden layers; () is one affine layer.
        activation: "relu" (the documented default is "tanh"), "gelu", "tanh", "silu" or a callable.
        prior, estimator, kernel_init, sigma_init, param_dtype, dtype, rngs: as in `BayesianLinear`.
    Raises:
        ValueError, TypeError: as `BayesByBackpropMLP`.

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
        self.output_dim = check_size("output_dim", output_dim)
        likelihood = HeteroscedasticGaussian()
        super().__init__(
            input_dim, hidden_dims, 2 * output_dim, activation=activation, likelihood=likelihood, rngs=rngs, **options
        )


class HeteroscedasticBayesByBackpropRegressor(HeteroscedasticMultiOutputBayesByBackpropRegressor):
    """MLP of Bayesian layers with a real target whose noise it predicts: y ~ N(m, softplus(v) + 1e-6).

    The outputs are the mean and after it the raw variance v, [batch, 2 output_dim].

    Args:
        input_dim: size of x's last axis.
        hidden_dims: sizes of the hidden layers; () is one affine layer.
        output_dim: number of targets.
        activation: "relu" (the documented default is "tanh"), "gelu", "tanh", "silu" or a callable.
        prior, estimator, kernel_init, sigma_init, param_dtype, dtype, rngs: as in `BayesianLinear`.
    Raises:
        ValueError, TypeError: as `BayesByBackpropMLP`.

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
