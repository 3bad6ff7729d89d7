"""List weights with their posteriors and priors.

`kl_per_weight` measures how much each weight has learned.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from deepuq_jax._checks import expected, is_concrete
from deepuq_jax._paths import dotted
from deepuq_jax.functional.gaussian import HALF_LOG_2PI, log_sigma, sigma_from_rho
from deepuq_jax.model.owners import join_paths, means_of, parameter_name, posteriors_of, weight_owners
from deepuq_jax.model.variables import unwrap
from deepuq_jax.priors.base import Prior
from deepuq_jax.priors.tree import each_weight, prior_by_leaf

# Number of Gauss-Hermite nodes for a prior without a closed-form KL. The quadrature is exact for log densities that are
# polynomials up to degree 63, and accurate to a few hundredths of a nat for log densities with a kink.
_NODES = 32


class WeightTensor(NamedTuple):
    """A tensor of Gaussian weights.

    Attributes:
        path: dotted path in the model, such as "layers.0.kernel".
        mu, rho: arrays of the same shape; the standard deviation is softplus(rho).
        prior: prior over the weights' deviation from `centre`.
        centre: centre of the prior, an array of the same shape, or 0.
        mask: None, or booleans of the same shape, False for pruned weights.
    """

    path: str
    mu: Array
    rho: Array
    prior: Any
    centre: Any = 0.0
    mask: Any = None

    @property
    def layer(self) -> str:
        """The path without its last part; "model" if empty."""
        return self.path.rpartition(".")[0] or "model"

    @property
    def signal_to_noise(self) -> Array:
        """|mu| / sigma per weight; 0 for pruned weights."""
        ratio = jnp.abs(self.mu) / sigma_from_rho(self.rho)
        return ratio if self.mask is None else jnp.where(self.mask, ratio, 0.0)


def weight_tensors(model: Any) -> list[WeightTensor]:
    """List the weight tensors under mean-field posteriors.

    A posterior is found as an attribute of a Bayesian layer or model, as in `BayesianLinear.kernel_posterior`. Its
    prior is the attribute `prior` of the same object. If this object has an attribute `centre` (a pytree like the
    means), the prior is centred there.

    Raises:
        ValueError: the model has no posterior, or a posterior with a mean or a scale that is not finite.

    >>> from flax import nnx
    >>> from deepuq_jax import BayesByBackpropMLP
    >>> [tensor.path for tensor in weight_tensors(BayesByBackpropMLP(2, (4,), 1, rngs=nnx.Rngs(0)))]
    ['layers.0.kernel', 'layers.0.bias', 'layers.2.kernel', 'layers.2.bias']
    """
    tensors = [tensor for path, owner in weight_owners(model) for tensor in _tensors_of(path, owner)]
    if not tensors:
        what = "to have a mean-field posterior with a prior beside it"
        raise ValueError(expected("model", what, type(model).__name__))
    for tensor in tensors:
        if not all(np.isfinite(part).all() for part in (tensor.mu, tensor.rho) if is_concrete(part)):
            raise ValueError(expected(f"the posterior at {tensor.path}", "to be finite", "NaN or infinity"))
    return tensors


def _tensors_of(path: str, owner: Any) -> list[WeightTensor]:
    posteriors = posteriors_of(owner)
    priors = prior_by_leaf(unwrap(owner.prior), means_of(owner))
    masks, centre = unwrap(getattr(owner, "prune_mask", None)), unwrap(getattr(owner, "centre", None))
    tensors = []
    for name, posterior in posteriors.items():
        keys, mus = zip(*jax.tree_util.tree_leaves_with_path(posterior.mu), strict=True)
        count = len(mus)
        parameter = parameter_name(name)
        own = priors if parameter == "" else priors[parameter]
        parts = zip(
            [join_paths(path, parameter, dotted(key)) for key in keys],
            mus,
            jax.tree.leaves(posterior.rho),
            jax.tree.leaves(own, is_leaf=_is_prior),
            [0.0] * count if centre is None else jax.tree.leaves(centre),
            [None] * count if masks is None else jax.tree.leaves(masks[name]),
            strict=True,
        )
        for where, mu, rho, prior, at, mask in parts:
            tensors.append(WeightTensor(where, mu, rho, prior.resolve(mu - at, rho, mask), at, mask))
    return tensors


def _is_prior(node: Any) -> bool:
    return isinstance(node, Prior)


def kl_per_weight(tensor: WeightTensor) -> Array:
    """Compute KL(q || p) per weight in nats.

    The result has the shape of the tensor. The KL of a weight shows how much the weight has learned from the data. It
    is computed in closed form if the prior has a closed form, else as E_q[log q(w)] - E_q[log p(w)] by Gauss-Hermite
    quadrature.

    >>> from deepuq_jax import GaussianPrior
    >>> rho = jnp.full(2, jnp.log(jnp.expm1(0.5)))
    >>> kl = kl_per_weight(WeightTensor("w", jnp.array([0.0, 1.0]), rho, GaussianPrior(0.0, 0.5)))
    >>> [round(float(value), 4) + 0.0 for value in kl]
    [0.0, 2.0]
    """
    of_each = jax.jit(lambda mu, rho: each_weight(tensor.prior, _kl_of_one, mu, rho))
    kl = of_each(tensor.mu - tensor.centre, tensor.rho)
    return kl if tensor.mask is None else jnp.where(tensor.mask, kl, 0.0)


def _kl_of_one(prior: Any, mu: Array, rho: Array) -> Array:
    if prior.has_closed_form_kl:
        return prior.kl(mu, rho)
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    points = mu + sigma_from_rho(rho) * jnp.asarray(nodes, mu.dtype)
    log_prior = jax.vmap(prior.log_prob)(points)
    entropy = log_sigma(rho) + HALF_LOG_2PI + 0.5
    return jnp.sum(jnp.asarray(weights / math.sqrt(2 * math.pi), mu.dtype) * -log_prior) - entropy
