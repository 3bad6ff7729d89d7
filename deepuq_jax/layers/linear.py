"""The Bayesian affine layer.

Source: Blundell et al. 2015, arXiv 1505.05424.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

import jax
from flax import nnx
from flax.nnx.nn.dtypes import promote_dtype
from jax import Array

from deepuq_jax._checks import check_last_axis, check_size, expected
from deepuq_jax.layers.affine import AffineLayer
from deepuq_jax.layers.options import LayerOptions


@dataclass(frozen=True)
class Dot:
    """The product of x [..., in] and kernel [in, out]."""

    dtype: Any = None

    def __call__(self, x: Array, kernel: Array) -> Array:
        x, kernel = promote_dtype((x, kernel), dtype=self.dtype)
        return jax.lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())))


class BayesianLinear(AffineLayer):
    """Affine layer with a Gaussian posterior over weight and bias.

    y = x W + b,  W, b ~ q(w) = N(mu, softplus(rho)^2);  kl() = KL(q || p) in nats, summed over W and b.

    The posteriors are `kernel_posterior` [in_features, out_features] and `bias_posterior` [out_features].

    Args:
        in_features, out_features: sizes of the last axis of x and of y, positive ints.
        use_bias: whether to add a bias.
        prior: any object with `log_prob(w)`, or a rule (path, means) -> prior for the paths "kernel" and "bias", such
            as `deepuq_jax.priors.by_path` returns. If the KL has a closed form, it is used. The default is Gaussian
            with sigma = 4 / sqrt(fan_in).
        estimator: the way noise enters the forward pass, a member of `deepuq_jax.estimators`.
        kernel_init: initializer of the means of W; the means of b start at 0.
        sigma_init: initial standard deviation of every weight.
        param_dtype: dtype of the posteriors, float32 or float64.
        dtype: dtype of the computation and the outputs; None infers it from inputs and posteriors.
        rngs: Flax key streams for the initial means; the layer does not store them.
    Raises:
        ValueError, TypeError: a size, a standard deviation or a dtype is invalid.

    >>> import jax.numpy as jnp
    >>> layer = BayesianLinear(3, 2, rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((5, 3)), key=jax.random.key(1)).shape
    (5, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        use_bias: bool = True,
        rngs: nnx.Rngs,
        **options: Unpack[LayerOptions],
    ):
        if "prior_sigma" in options:
            raise TypeError(expected("prior", "as in prior=GaussianPrior(sigma=0.1)", "prior_sigma"))
        self.in_features: int = check_size("in_features", in_features)
        self.out_features: int = check_size("out_features", out_features)
        shape = (self.in_features, self.out_features)
        super().__init__(shape, use_bias=use_bias, rngs=rngs, **options)

    @property
    def _op(self) -> Dot:
        return Dot(self.dtype)

    def _checked(self, x: Array) -> Array:
        check_last_axis("x", x, self.in_features)
        return x
