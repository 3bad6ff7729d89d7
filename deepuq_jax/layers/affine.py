"""The base of the Bayesian affine layers.

It holds the posteriors and implements calls, moment propagation, KL and draws for a map that is bilinear in input and
kernel.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.nn.initializers import Initializer

from deepuq_jax._arguments import check_instance
from deepuq_jax._checks import (
    check_flag,
    check_one_of,
    check_param_dtype,
    check_positive,
    check_rngs,
    check_scalar,
)
from deepuq_jax.estimators import weight_sampling
from deepuq_jax.estimators.base import Estimator, add_bias
from deepuq_jax.functional.gaussian import rho_from_sigma
from deepuq_jax.model.annotations import Annotation, of_last_axis, split_annotation
from deepuq_jax.model.base import BaseModel, FixedModel
from deepuq_jax.model.noise_use import marked
from deepuq_jax.model.variables import FixedWeight, VariableTree, hold_prior, posterior_of, unwrap
from deepuq_jax.posterior import GaussianPosterior
from deepuq_jax.priors.base import Prior, PriorRule
from deepuq_jax.priors.defaults import LAYER_PRIOR, LayerDefault
from deepuq_jax.priors.tree import prior_by_leaf

default_kernel_init: Initializer = nnx.initializers.lecun_normal()
DEFAULT_SIGMA_INIT = 0.05


class AffineLayer(BaseModel, nnx.Module):
    """An affine layer with Gaussian posteriors over kernel and bias.

    y = op(x, W) + b. A subclass defines the operation `_op` and checks its inputs in `_checked`.
    """

    # Set while `refuse_shared_noise` traces the model.
    noise_label: str | None = None

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        use_bias: bool = True,
        prior: Prior | PriorRule | LayerDefault = LAYER_PRIOR,
        estimator: Estimator = weight_sampling,
        kernel_init: nnx.Initializer = default_kernel_init,
        sigma_init: float = DEFAULT_SIGMA_INIT,
        param_dtype: Any = jnp.float32,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        check_rngs(rngs)
        check_positive("sigma_init", check_scalar("sigma_init", sigma_init))
        check_flag("use_bias", use_bias)
        check_instance("estimator", estimator, Estimator, "to be one of deepuq_jax.estimators, or your own Estimator")
        check_param_dtype(param_dtype)
        rho = rho_from_sigma(jnp.asarray(sigma_init, param_dtype))
        mu, annotation = split_annotation(kernel_init(rngs.params(), shape, param_dtype))
        kernel = GaussianPosterior(mu, jnp.full(shape, rho))
        annotations: dict[str, Annotation] = dict.fromkeys(("mu", "rho"), annotation)
        self.kernel_posterior: VariableTree = VariableTree(kernel, nnx.Param, annotations)
        bias = GaussianPosterior(jnp.zeros(shape[-1:], param_dtype), jnp.full(shape[-1:], rho))
        annotations = dict.fromkeys(("mu", "rho"), of_last_axis(annotation, len(shape)))
        self.bias_posterior: VariableTree | None = VariableTree(bias, nnx.Param, annotations) if use_bias else None
        self.prune_mask: Any = None
        prior = prior.of_kernel(shape) if isinstance(prior, LayerDefault) else prior
        self.prior: Any = hold_prior(prior, self._means())
        self.estimator: Estimator = nnx.static(estimator)
        self.dtype = dtype

    @property
    @abstractmethod
    def _op(self) -> Callable[[Any, Array], Array]:
        """The operation, a hashable function of x and kernel.

        It is linear in each argument and casts both to the compute dtype `self.dtype`.
        """

    @abstractmethod
    def _checked(self, x: Any) -> Any:
        """Check the input and convert it for `_op`."""

    def _posteriors(self) -> tuple[GaussianPosterior, GaussianPosterior | None]:
        return posterior_of(self, "kernel_posterior"), posterior_of(self, "bias_posterior")

    def _means(self) -> dict[str, Array]:
        kernel, bias = self._posteriors()
        return {"kernel": kernel.mu} if bias is None else {"kernel": kernel.mu, "bias": bias.mu}

    def __call__(self, x: Array, *, key: Array | None = None, noise: Any = None) -> Array:
        """Return outputs at a draw or at the means.

        The outputs are [..., out_features]. `key` or `noise` selects the draw; without either, the weights are the
        posterior means.
        """
        check_one_of("key and noise", key, noise)
        x = self._checked(x)
        kernel, bias = self._posteriors()
        if key is not None:
            own_key = marked(self.noise_label, key, kernel.mu, is_key=True)
            noise = self.estimator.draw_noise(self._op, x, kernel, bias, key=own_key)
        if noise is None:
            mean = marked(self.noise_label, kernel.mu, kernel.mu, is_key=False)
            return _affine(self._op, x, mean, None if bias is None else bias.mu)
        return self.estimator(self._op, x, kernel, bias, noise)

    def propagate(self, mean: Array, var: Array | None = None) -> tuple[Array, Array]:
        """Compute the mean and the variance of the outputs.

        Both are taken over the weights and over an input of independent units with the given mean and variance:

        E = op(mean, mu_W) + mu_b,  V = op(mean^2, sigma_W^2) + op(var, mu_W^2 + sigma_W^2) + sigma_b^2

        For inputs that are known exactly (no `var`), the mean and the variance of each output are exact. Covariances
        between units are not computed, so later layers are approximate.

        Args:
            mean: means of the input, [batch, ..., in_features].
            var: variances of the input, of the same shape, or None if the inputs are known exactly.
        Returns:
            (mean, variance), each [batch, ..., out_features].
        """
        mean = self._checked(mean)
        kernel, bias = self._posteriors()
        kernel_var = jnp.square(kernel.sigma)
        # The indices of an embedding select rows; squaring them would select other rows.
        square = mean if jnp.issubdtype(mean.dtype, jnp.integer) else jnp.square(mean)
        out_var = self._op(square, kernel_var)
        if var is not None:
            out_var += self._op(var, jnp.square(kernel.mu) + kernel_var)
        if bias is not None:
            out_var = add_bias(out_var, jnp.square(bias.sigma))
        return _affine(self._op, mean, kernel.mu, None if bias is None else bias.mu), out_var

    def draw_noise(self, x: Array, *, key: Array) -> Any:
        """Draw the noise of `layer(x, key=key)`.

        The noise reproduces the call: layer(x, noise=layer.draw_noise(x, key=key)) equals layer(x, key=key).
        """
        return self.estimator.draw_noise(self._op, self._checked(x), *self._posteriors(), key=key)

    def _weight_noise(self, key: Array | None) -> Any:
        return None if key is None else weight_sampling.draw_noise(self._op, None, *self._posteriors(), key=key)

    @property
    def has_closed_form_kl(self) -> bool:
        """Whether the priors have a closed-form KL."""
        prior = unwrap(self.prior)
        return all(q is None or q.has_closed_form_kl(prior) for q in self._posteriors())

    def kl(self, key: Array | None = None, *, noise: Any = None) -> Array:
        """Return KL(q || p), a scalar in nats.

        For a Gaussian prior p = N(mu_p, sigma_p^2) and a posterior q = N(mu_q, sigma_q^2), each component contributes

        log(sigma_p / sigma_q) + (sigma_q^2 + (mu_q - mu_p)^2) / (2 sigma_p^2) - 1/2

        and the sum runs over all components of kernel and bias. For a prior without a closed form, the KL is estimated
        at the weights that `key` (or `noise`) draws.
        """
        noise = self._weight_noise(key) if noise is None else noise
        # Without noise, or with noise for outputs instead of weights, there is no draw of the weights to use.
        of_weights = noise if isinstance(noise, dict) else dict.fromkeys(("kernel", "bias"))
        kernel, bias = self._posteriors()
        prior = prior_by_leaf(unwrap(self.prior), self._means())
        kl = kernel.kl(prior["kernel"], noise=of_weights["kernel"])
        return kl if bias is None else kl + bias.kl(prior["bias"], noise=of_weights["bias"])

    def draw(self, *, key: Array) -> FixedAffine:
        """Fix the layer's weights at a single draw."""
        noise = self._weight_noise(key)
        kernel, bias = self._posteriors()
        fixed_bias = None if bias is None else bias.sample(noise=noise["bias"])
        return FixedAffine(kernel.sample(noise=noise["kernel"]), fixed_bias, self._op)


def _affine(op: Callable[..., Any], x: Any, kernel: Array, bias: Array | None) -> Array:
    outputs = op(x, kernel)
    return outputs if bias is None else add_bias(outputs, bias)


class FixedAffine(FixedModel, nnx.Module):
    """An affine layer with fixed weights.

    It ignores noise, and its KL is 0.
    """

    def __init__(self, kernel: Array, bias: Array | None, op: Callable[[Any, Array], Array]):
        self.kernel: FixedWeight = FixedWeight(kernel)
        self.bias: FixedWeight | None = None if bias is None else FixedWeight(bias)
        self._op = nnx.static(op)

    def __call__(self, x: Array, *, key: Array | None = None, noise: Any = None) -> Array:
        """Return the outputs [..., out_features]."""
        return _affine(self._op, x, unwrap(self.kernel), unwrap(self.bias))

    def kl(self, key: Array | None = None, *, noise: Any = None) -> Array:
        """Return 0 nats, since nothing is random."""
        return jnp.zeros((), jnp.promote_types(unwrap(self.kernel).dtype, jnp.float32))
