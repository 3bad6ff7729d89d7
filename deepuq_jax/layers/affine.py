"""What layers with a Bayesian kernel and bias share: a linear map of input and kernel, posteriors, KL, draws."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array

from deepuq_jax._checks import check_one_of, check_param_dtype, check_positive
from deepuq_jax.estimators import weight_sampling
from deepuq_jax.estimators.base import Estimator, add_bias
from deepuq_jax.functional.gaussian import rho_from_sigma
from deepuq_jax.model.base import BaseModel, FixedModel
from deepuq_jax.model.variables import FixedWeight, VariableTree, hold_prior, posterior_of, unwrap
from deepuq_jax.posterior import GaussianPosterior
from deepuq_jax.priors.base import Prior, PriorRule
from deepuq_jax.priors.defaults import DEFAULT_PRIOR
from deepuq_jax.priors.tree import prior_by_leaf

default_kernel_init = nnx.initializers.lecun_normal()
DEFAULT_SIGMA_INIT = 0.05


class AffineLayer(BaseModel, nnx.Module):
    """y = op(x, W) + b with a Gaussian posterior over W and b; a layer names its op and says what an input is."""

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        use_bias: bool = True,
        prior: Prior | PriorRule = DEFAULT_PRIOR,
        estimator: Estimator = weight_sampling,
        kernel_init: nnx.Initializer = default_kernel_init,
        sigma_init: float = DEFAULT_SIGMA_INIT,
        param_dtype: Any = jnp.float32,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        check_positive("sigma_init", sigma_init)
        check_param_dtype(param_dtype)
        rho = rho_from_sigma(jnp.asarray(sigma_init, param_dtype))
        mu = kernel_init(rngs.params(), shape, param_dtype)
        self.kernel_posterior = VariableTree(GaussianPosterior(mu, jnp.full(shape, rho)), nnx.Param)
        bias = GaussianPosterior(jnp.zeros(shape[-1:], param_dtype), jnp.full(shape[-1:], rho))
        self.bias_posterior = VariableTree(bias, nnx.Param) if use_bias else None
        self.prune_mask: Any = None
        self.prior = hold_prior(prior, self._means())
        self.estimator = nnx.static(estimator)
        self.dtype = dtype

    @property
    @abstractmethod
    def _op(self) -> Callable[[Any, Array], Array]:
        """A hashable function of x and a kernel, linear in each, that casts both to the compute dtype `self.dtype`."""

    @abstractmethod
    def _checked(self, x: Any) -> Any:
        """The input as `op` takes it, once it is known to be sound."""

    def _posteriors(self) -> tuple[GaussianPosterior, GaussianPosterior | None]:
        return posterior_of(self, "kernel_posterior"), posterior_of(self, "bias_posterior")

    def _means(self) -> dict[str, Array]:
        kernel, bias = self._posteriors()
        return {"kernel": kernel.mu} if bias is None else {"kernel": kernel.mu, "bias": bias.mu}

    def __call__(self, x: Array, *, key: Array | None = None, noise: Any = None) -> Array:
        """Outputs [..., out_features]: one draw from `key` or `noise`, else at the means."""
        check_one_of("key and noise", key, noise)
        x = self._checked(x)
        kernel, bias = self._posteriors()
        if key is not None:
            noise = self.estimator.draw_noise(self._op, x, kernel, bias, key=key)
        if noise is None:
            return _affine(self._op, x, kernel.mu, None if bias is None else bias.mu)
        return self.estimator(self._op, x, kernel, bias, noise)

    def propagate(self, mean: Array, var: Array | None = None) -> tuple[Array, Array]:
        """Mean and variance of the outputs over the weights, for inputs of independent units with `mean` and `var`.

        E = op(mean, mu_W) + mu_b,  V = op(mean^2, sigma_W^2) + op(var, mu_W^2 + sigma_W^2) + sigma_b^2

        Exact for each output of one layer without `var`; between layers the covariances of units are lost.

        Args:
            mean: [batch, ..., in_features]. var: variances, that shape, or None for inputs that are certain.
        Returns:
            (mean, variance), each [batch, ..., out_features].
        """
        mean = self._checked(mean)
        kernel, bias = self._posteriors()
        kernel_var = jnp.square(kernel.sigma)
        # Indices (of an embedding) select rows; they are no numbers to be squared.
        square = mean if jnp.issubdtype(mean.dtype, jnp.integer) else jnp.square(mean)
        out_var = self._op(square, kernel_var)
        if var is not None:
            out_var += self._op(var, jnp.square(kernel.mu) + kernel_var)
        if bias is not None:
            out_var = add_bias(out_var, jnp.square(bias.sigma))
        return _affine(self._op, mean, kernel.mu, None if bias is None else bias.mu), out_var

    def draw_noise(self, x: Array, *, key: Array) -> Any:
        """The noise of `layer(x, key=key)`, so that layer(x, noise=layer.draw_noise(x, key=key)) equals it."""
        return self.estimator.draw_noise(self._op, self._checked(x), *self._posteriors(), key=key)

    def _weight_noise(self, key: Array | None) -> Any:
        return None if key is None else weight_sampling.draw_noise(self._op, None, *self._posteriors(), key=key)

    @property
    def has_closed_form_kl(self) -> bool:
        """Whether both priors have one."""
        prior = unwrap(self.prior)
        return all(q is None or q.has_closed_form_kl(prior) for q in self._posteriors())

    def kl(self, key: Array | None = None, *, noise: Any = None) -> Array:
        """KL(q || p) in nats, a scalar; where there is no closed form, at the weights that `key` (or `noise`) draws."""
        noise = self._weight_noise(key) if noise is None else noise
        # Without noise, or with noise of outputs, there are no weights to estimate at.
        of_weights = noise if isinstance(noise, dict) else dict.fromkeys(("kernel", "bias"))
        kernel, bias = self._posteriors()
        prior = prior_by_leaf(unwrap(self.prior), self._means())
        kl = kernel.kl(prior["kernel"], noise=of_weights["kernel"])
        return kl if bias is None else kl + bias.kl(prior["bias"], noise=of_weights["bias"])

    def draw(self, *, key: Array) -> FixedAffine:
        """The layer with its weights fixed at one draw."""
        noise = self._weight_noise(key)
        kernel, bias = self._posteriors()
        fixed_bias = None if bias is None else bias.sample(noise=noise["bias"])
        return FixedAffine(kernel.sample(noise=noise["kernel"]), fixed_bias, self._op)


def _affine(op: Callable[..., Any], x: Any, kernel: Array, bias: Array | None) -> Array:
    outputs = op(x, kernel)
    return outputs if bias is None else add_bias(outputs, bias)


class FixedAffine(FixedModel, nnx.Module):
    """An affine layer with given weights: it ignores noise and has no KL."""

    def __init__(self, kernel: Array, bias: Array | None, op: Callable[[Any, Array], Array]):
        self.kernel = FixedWeight(kernel)
        self.bias = None if bias is None else FixedWeight(bias)
        self._op = nnx.static(op)

    def __call__(self, x: Array, *, key: Array | None = None, noise: Any = None) -> Array:
        """Outputs [..., out_features]."""
        return _affine(self._op, x, unwrap(self.kernel), unwrap(self.bias))

    def kl(self, key: Array | None = None, *, noise: Any = None) -> Array:
        """0 nats: nothing is random."""
        return jnp.zeros((), jnp.promote_types(unwrap(self.kernel).dtype, jnp.float32))
