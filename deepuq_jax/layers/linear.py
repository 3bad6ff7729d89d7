"""The affine layer with Bayesian weight and bias.

Source: Blundell et al. 2015, arXiv 1505.05424.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn.dtypes import promote_dtype
from jax import Array

from deepuq_jax._checks import check_last_axis, check_one_of, check_param_dtype, check_positive, check_size
from deepuq_jax.estimators import weight_sampling
from deepuq_jax.estimators._protocol import add_bias
from deepuq_jax.functional.gaussian import rho_from_sigma
from deepuq_jax.model import hold_prior, unwrap
from deepuq_jax.posterior import GaussianPosterior
from deepuq_jax.priors import GaussianPrior
from deepuq_jax.types import Estimator, Prior

default_kernel_init = nnx.initializers.lecun_normal()
DEFAULT_SIGMA_INIT = 0.05


def _dot(x: Array, kernel: Array, dtype: Any) -> Array:
    x, kernel = promote_dtype((x, kernel), dtype=dtype)
    return jax.lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())))


class BayesianLinear(nnx.Module):
    """Affine layer with a Gaussian posterior over weight and bias.

    y = x W + b,  W, b ~ q(w) = N(mu, softplus(rho)^2);  kl() = KL(q || p), nats, summed over W and b.

    The posteriors are `kernel_posterior` [in_features, out_features] and `bias_posterior` [out_features].

    Args:
        in_features, out_features: sizes, positive ints.
        use_bias: whether there is a bias.
        prior: anything with `log_prob(w)`; a closed-form KL is used where it has one.
        estimator: how noise enters the forward pass, one of `deepuq_jax.estimators`.
        kernel_init: initializer of the means of W (those of b start at 0).
        sigma_init: initial standard deviation of every weight.
        param_dtype: dtype of the posteriors, float32 or float64.
        dtype: dtype of the computation and the outputs; None infers it from inputs and posteriors.
        rngs: Flax key streams for the initial means. None is stored.
    Raises:
        ValueError, TypeError: a size, a sigma or a dtype that cannot be.

    >>> import jax
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
        prior: Prior = GaussianPrior(),
        estimator: Estimator = weight_sampling,
        kernel_init: nnx.Initializer = default_kernel_init,
        sigma_init: float = DEFAULT_SIGMA_INIT,
        param_dtype: Any = jnp.float32,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        self.in_features = check_size("in_features", in_features)
        self.out_features = check_size("out_features", out_features)
        check_positive("sigma_init", sigma_init)
        check_param_dtype(param_dtype)
        shape = (self.in_features, self.out_features)
        rho = rho_from_sigma(jnp.asarray(sigma_init, param_dtype))
        mu = kernel_init(rngs.params(), shape, param_dtype)
        self.kernel_posterior = nnx.Param(GaussianPosterior(mu, jnp.full(shape, rho)))
        self.bias_posterior = (
            nnx.Param(GaussianPosterior(jnp.zeros(shape[1:], param_dtype), jnp.full(shape[1:], rho)))
            if use_bias
            else None
        )
        self.prior = hold_prior(prior)
        self.estimator = nnx.static(estimator)
        self.dtype = dtype

    def _posteriors(self) -> tuple[GaussianPosterior, GaussianPosterior | None]:
        return unwrap(self.kernel_posterior), unwrap(self.bias_posterior)

    def _op(self, x: Array, kernel: Array) -> Array:
        return _dot(x, kernel, self.dtype)

    def __call__(self, x: Array, *, key: Array | None = None, noise: Any = None) -> Array:
        """Outputs [..., out_features] of x [..., in_features]: one draw from `key` or `noise`, else at the means."""
        check_one_of("key and noise", key, noise)
        check_last_axis("x", x, self.in_features)
        kernel, bias = self._posteriors()
        if key is not None:
            noise = self.draw_noise(x, key=key)
        if noise is None:
            return self._affine(x, kernel.mu, None if bias is None else bias.mu)
        return self.estimator(self._op, x, kernel, bias, noise)

    def _affine(self, x: Array, kernel: Array, bias: Array | None) -> Array:
        outputs = self._op(x, kernel)
        return outputs if bias is None else add_bias(outputs, bias)

    def draw_noise(self, x: Array, *, key: Array) -> Any:
        """The noise of `layer(x, key=key)`, so that layer(x, noise=layer.draw_noise(x, key=key)) equals it."""
        return self.estimator.draw_noise(self._op, x, *self._posteriors(), key=key)

    def _weight_noise(self, key: Array | None) -> Any:
        return None if key is None else weight_sampling.draw_noise(self._op, None, *self._posteriors(), key=key)

    def kl(self, key: Array | None = None, *, noise: Any = None) -> Array:
        """KL(q || p) in nats, a scalar; where there is no closed form, at the weights that `key` (or `noise`) draws."""
        noise = self._weight_noise(key) if noise is None else noise
        kernel, bias = self._posteriors()
        prior = unwrap(self.prior)
        kl = kernel.kl(prior, noise=None if noise is None else noise["kernel"])
        return kl if bias is None else kl + bias.kl(prior, noise=None if noise is None else noise["bias"])

    def draw(self, *, key: Array) -> FixedLinear:
        """The layer with its weights fixed at one draw."""
        noise = self._weight_noise(key)
        kernel, bias = self._posteriors()
        fixed_bias = None if bias is None else bias.sample(noise=noise["bias"])
        return FixedLinear(kernel.sample(noise=noise["kernel"]), fixed_bias, self.dtype)


class FixedWeight(nnx.Variable):
    """A weight that is not trained."""


class FixedLinear(nnx.Module):
    """An affine layer with given weights: it ignores noise and has no KL."""

    def __init__(self, kernel: Array, bias: Array | None, dtype: Any = None):
        self.kernel = FixedWeight(kernel)
        self.bias = None if bias is None else FixedWeight(bias)
        self.dtype = dtype

    def __call__(self, x: Array, *, key: Array | None = None, noise: Any = None) -> Array:
        """Outputs [..., out_features] of x [..., in_features]."""
        outputs = _dot(x, unwrap(self.kernel), self.dtype)
        return outputs if self.bias is None else add_bias(outputs, unwrap(self.bias))

    def kl(self, key: Array | None = None, *, noise: Any = None) -> Array:
        """0 nats: nothing is random."""
        return jnp.zeros((), jnp.promote_types(unwrap(self.kernel).dtype, jnp.float32))

    def draw_noise(self, x: Array, *, key: Array) -> tuple:
        """No noise."""
        return ()

    def draw(self, *, key: Array) -> FixedLinear:
        """Itself."""
        return self
