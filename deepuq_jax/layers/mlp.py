"""The Bayesian multilayer perceptron."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Unpack

from flax import nnx

from deepuq_jax._checks import check_size, check_sizes
from deepuq_jax.layers.activations import activation_function
from deepuq_jax.layers.linear import BayesianLinear
from deepuq_jax.layers.options import LayerOptions
from deepuq_jax.layers.sequential import Sequential
from deepuq_jax.priors.defaults import LAYER_PRIOR
from deepuq_jax.priors.rules import below


class BayesByBackpropMLP(Sequential):
    """MLP of Bayesian affine layers and activations.

    h_0 = x,  h_l = activation(h_{l-1} W_l + b_l),  y = h_{L-1} W_L + b_L

    Every W and b has a Gaussian posterior. `layers` also holds the activations, so the Bayesian layers have the indices
    0, 2, 4, ... as in Deep-UQ.

    Args:
        input_dim, output_dim: sizes of the last axis of x and of y, positive ints.
        hidden_dims: sizes of the hidden layers; () gives a single affine layer.
        likelihood: the model's likelihood (`Categorical()`, `Gaussian(sigma)`, ...), used unless another is passed.
        activation: the activation between layers: "relu", "gelu", "tanh", "silu" or a callable. Pass a named function,
            since every new lambda causes a recompilation.
        prior, estimator, kernel_init, sigma_init, param_dtype, dtype, rngs: as in `BayesianLinear`. A rule for priors
            receives the paths "layers.0.kernel", "layers.0.bias", "layers.2.kernel" and so on.
    Raises:
        ValueError, TypeError: as in `BayesianLinear`; also if a size is not a positive int or the activation is
            unknown.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> model = BayesByBackpropMLP(4, (16, 16), 3, rngs=nnx.Rngs(0))
    >>> model(jnp.ones((5, 4)), key=jax.random.key(1)).shape
    (5, 3)
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dims: Sequence[int],
        output_dim: int,
        *,
        activation: Callable[..., Any] | str = "relu",
        likelihood: Any = None,
        rngs: nnx.Rngs,
        **options: Unpack[LayerOptions],
    ):
        input_dim = check_size("input_dim", input_dim)
        output_dim = check_size("output_dim", output_dim)
        sizes = (input_dim, *check_sizes("hidden_dims", hidden_dims), output_dim)
        between = activation_function(activation)
        members: list[Callable[..., Any]] = []
        prior = options.get("prior", LAYER_PRIOR)
        for fan_in, fan_out in itertools.pairwise(sizes):
            own = options | LayerOptions(prior=below(prior, f"layers.{len(members)}"))
            members += [BayesianLinear(fan_in, fan_out, rngs=rngs, **own), between]
        super().__init__(*members[:-1], likelihood=likelihood)


# Later releases of Deep-UQ document the same class under this name.
BayesByBackpropRegressor = BayesByBackpropMLP
