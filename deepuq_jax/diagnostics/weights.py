"""The weights of a model one by one: where they are, their posterior, their prior, and what each has learned."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from deepuq_jax._checks import expected
from deepuq_jax._paths import dotted
from deepuq_jax.functional.gaussian import HALF_LOG_2PI, log_sigma, sigma_from_rho
from deepuq_jax.model import bayesian_nodes, unwrap
from deepuq_jax.posterior import MeanField

# Gauss-Hermite nodes for a prior without a closed-form KL: exact for log densities that are polynomials up to degree
# 63, and within a few hundredths of a nat for those with a kink.
_NODES = 32


class WeightTensor(NamedTuple):
    """One tensor of Gaussian weights.

    Attributes:
        path: where it is in the model, such as "layers.0.kernel".
        mu, rho: arrays of one shape; the standard deviation is softplus(rho).
        prior: over it, or where it has a centre, over its deviation from that.
        centre: where the prior lies, an array of the same shape, or 0.
    """

    path: str
    mu: Array
    rho: Array
    prior: Any
    centre: Any = 0.0

    @property
    def layer(self) -> str:
        """The path without its last part; "model" where nothing is left."""
        return self.path.rpartition(".")[0] or "model"

    @property
    def signal_to_noise(self) -> Array:
        """|mu| / sigma of each weight."""
        return jnp.abs(self.mu) / sigma_from_rho(self.rho)


def weight_owners(model: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, object) for every object that holds a posterior and its prior, the model itself first."""
    if _posteriors(model):
        yield path, model
    for below, node in bayesian_nodes(model):
        yield from weight_owners(node, _join(path, below))


def weight_tensors(model: Any) -> list[WeightTensor]:
    """Every tensor of weights under a mean-field posterior.

    A posterior is found as an attribute of a Bayesian layer or model, as in `BayesianLinear.kernel_posterior`; its
    prior is the attribute `prior` beside it, around the attribute `centre` (a pytree like the means) if there is one.

    Raises:
        ValueError: no posterior in the model, or one with a mean or scale that is not finite.

    >>> from flax import nnx
    >>> from deepuq_jax import BayesByBackpropMLP
    >>> [tensor.path for tensor in weight_tensors(BayesByBackpropMLP(2, (4,), 1, rngs=nnx.Rngs(0)))]
    ['layers.0.kernel', 'layers.0.bias', 'layers.2.kernel', 'layers.2.bias']
    """
    tensors = []
    for path, owner in weight_owners(model):
        for name, posterior in _posteriors(owner).items():
            start = _join(path, name.removesuffix("posterior").removesuffix("_"))
            keys, means = zip(*jax.tree_util.tree_leaves_with_path(posterior.mu), strict=True)
            paths = [_join(start, dotted(leaf)) for leaf in keys]
            centre = unwrap(getattr(owner, "centre", None))
            centres = [0.0] * len(means) if centre is None else jax.tree.leaves(centre)
            parts = zip(paths, means, jax.tree.leaves(posterior.rho), centres, strict=True)
            prior = unwrap(owner.prior)
            tensors += [WeightTensor(path, mu, rho, prior, centre) for path, mu, rho, centre in parts]
    if not tensors:
        what = "to have a mean-field posterior with a prior beside it"
        raise ValueError(expected("model", what, type(model).__name__))
    for tensor in tensors:
        if not all(np.isfinite(np.asarray(part)).all() for part in (tensor.mu, tensor.rho)):
            raise ValueError(expected(f"the posterior at {tensor.path}", "to be finite", "NaN or infinity"))
    return tensors


def _posteriors(owner: Any) -> dict[str, MeanField]:
    """The posteriors among an object's attributes, by name; none where no prior is beside them."""
    attributes = getattr(owner, "__dict__", {})
    if "prior" not in attributes:
        return {}
    values = {name: unwrap(value) for name, value in attributes.items()}
    return {name: value for name, value in values.items() if isinstance(value, MeanField)}


def _join(*paths: str) -> str:
    """Dotted paths as one; any may be empty."""
    return ".".join(filter(None, paths))


def kl_per_weight(tensor: WeightTensor) -> Array:
    """KL(q || p) of each weight in nats, the shape of the tensor: what the data have told of it.

    In closed form where the prior has one; else by Gauss-Hermite quadrature, E_q[log q(w)] - E_q[log p(w)].

    >>> from deepuq_jax import GaussianPrior
    >>> rho = jnp.full(2, jnp.log(jnp.expm1(0.5)))
    >>> kl = kl_per_weight(WeightTensor("w", jnp.array([0.0, 1.0]), rho, GaussianPrior(0.0, 0.5)))
    >>> [round(float(value), 4) + 0.0 for value in kl]
    [0.0, 2.0]
    """
    prior, is_opaque = tensor.prior, jax.tree.leaves(tensor.prior)[:1] == [tensor.prior]
    # A prior's arrays broadcast to the weights: each weight gets its own entry of them.
    spread = lambda leaf: jnp.broadcast_to(leaf, tensor.mu.shape).ravel()
    priors = None if is_opaque else jax.tree.map(spread, prior)
    of_one = lambda own, mu, rho: _kl_of_one(prior if is_opaque else own, mu, rho)
    return jax.jit(jax.vmap(of_one))(priors, (tensor.mu - tensor.centre).ravel(), tensor.rho.ravel()).reshape(
        tensor.mu.shape
    )


def _kl_of_one(prior: Any, mu: Array, rho: Array) -> Array:
    if hasattr(prior, "kl"):
        return prior.kl(mu, rho)
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    points = mu + sigma_from_rho(rho) * jnp.asarray(nodes, mu.dtype)
    log_prior = jax.vmap(prior.log_prob)(points)
    entropy = log_sigma(rho) + HALF_LOG_2PI + 0.5
    return jnp.sum(jnp.asarray(weights / math.sqrt(2 * math.pi), mu.dtype) * -log_prior) - entropy
