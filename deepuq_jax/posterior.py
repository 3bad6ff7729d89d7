"""Mean-field Gaussian posteriors, over one tensor and over any pytree.

Source: Blundell et al. 2015, arXiv 1505.05424.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from deepuq_jax._checks import check_one_of, check_positive, expected, is_concrete
from deepuq_jax._noise import normal_like
from deepuq_jax.functional.gaussian import (
    at_least_float32,
    check_noise_shape,
    gaussian_log_prob,
    log_sigma,
    rho_from_sigma,
    sigma_from_rho,
)
from deepuq_jax.functional.scale import draw_at_scale, scale_from_rho, sigma_of_scale
from deepuq_jax.priors._tree import each_weight, given, is_prior, prior_by_leaf


class KeyRequiredError(ValueError):
    """A KL with no closed form was asked for without the noise to estimate it."""


def _sum(tree: Any) -> Array:
    return jax.tree.reduce(jnp.add, tree)


def _draw(mu: Array, scale: Array, noise: Array) -> Array:
    check_noise_shape(mu, noise)
    shape = jnp.shape(noise)
    return draw_at_scale(jnp.broadcast_to(mu, shape), jnp.broadcast_to(scale, shape), jnp.asarray(noise))


# The leaves of a posterior, in their order; what is left is static.
_LEAVES = ("mu", "rho", "mask", "scale")
_KEYS = tuple(jax.tree_util.GetAttrKey(name) for name in _LEAVES)


@jax.tree_util.register_pytree_with_keys_class
@dataclass(frozen=True)
class MeanField:
    """Independent Gaussians over every entry of a pytree: q(w) = N(w; mu, softplus(rho)^2).

    Attributes:
        mu: means, a pytree of floating arrays.
        rho: the same pytree; the standard deviation is softplus(rho).
        mask: None, or the same pytree of booleans, False for weights that are 0 in every draw: see `masked`.
        kl_by: "closed form", where the prior has one; "draw": always an estimate at a draw; "path": that estimate with
            the gradient of the draw's path alone (see `negative_elbo`, sticking_the_landing).
        scale: None, or what `with_scale` put there.

    >>> q = MeanField.init({"w": jnp.zeros((3, 2)), "b": jnp.zeros(2)}, sigma=0.05)
    >>> q.sample(key=jax.random.key(0))["w"].shape
    (3, 2)
    """

    mu: Any
    rho: Any
    mask: Any = None
    kl_by: str = "closed form"
    scale: Any = field(default=None, repr=False)

    def tree_flatten(self):
        """Leaves as children, `kl_by` in the treedef."""
        return (self.mu, self.rho, self.mask, self.scale), self.kl_by

    def tree_flatten_with_keys(self):
        """The same with the names of the leaves."""
        leaves, kl_by = self.tree_flatten()
        return tuple(zip(_KEYS, leaves, strict=True)), kl_by

    @classmethod
    def tree_unflatten(cls, kl_by, leaves) -> Self:
        """The inverse of flattening; past the checks, which are for a user's arrays.

        A call of a compiled step ends with a dozen posteriors rebuilt: 20 µs each with `__init__`, 3 without.
        """
        posterior = object.__new__(cls)
        posterior.__dict__.update(zip(_LEAVES, leaves, strict=True), kl_by=kl_by)
        return posterior

    @classmethod
    def init(cls, params: Any, sigma: Any = 0.05) -> MeanField:
        """A posterior centred on given parameters.

        Args:
            params: any pytree of floating arrays; they become the means, kept in at least float32.
            sigma: initial standard deviation, a number, or a pytree like `params` that holds one for each leaf.
        Returns:
            The posterior.
        Raises:
            TypeError: a leaf that is not a floating array. ValueError: a sigma not finite and above zero.

        >>> round(float(MeanField.init(jnp.zeros(()), sigma=0.1).sigma), 5)
        0.1
        """
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            if not hasattr(leaf, "dtype") or not jnp.issubdtype(leaf.dtype, jnp.floating):
                raise TypeError(expected(f"params{jax.tree_util.keystr(path)}", "to be a floating array", leaf))
        is_one = jax.tree.structure(sigma) == jax.tree.structure(0.0)
        sigmas = jax.tree.map(lambda _: sigma, params) if is_one else sigma
        for value in jax.tree.leaves(sigmas):
            check_positive("sigma", value)
        mu = jax.tree.map(at_least_float32, params)
        rho = jax.tree.map(lambda m, s: jnp.broadcast_to(rho_from_sigma(jnp.asarray(s, m.dtype)), m.shape), mu, sigmas)
        return cls(mu, rho)

    @property
    def sigma(self) -> Any:
        """Standard deviations softplus(rho), a pytree like `mu`."""
        sigmas = (
            jax.tree.map(sigma_from_rho, self.rho) if self.scale is None else jax.tree.map(sigma_of_scale, self.scale)
        )
        return sigmas if self.mask is None else _keep(self.mask, sigmas)

    def masked(self, mask: Any) -> Self:
        """The same posterior with the weights where `mask` is False fixed at 0, in its mean, its draws and its KL."""
        return self if mask is None else replace(self, mu=_keep(mask, self.mu), mask=mask)

    def with_scale(self) -> Self:
        """The same posterior with its standard deviations computed, once for all draws and the KL of a step."""
        return replace(self, scale=self._scales())

    def _scales(self) -> Any:
        return jax.tree.map(scale_from_rho, self.rho) if self.scale is None else self.scale

    def mean(self) -> Any:
        """The posterior means, `mu`."""
        return self.mu

    def draw_noise(self, *, key: Array, shape: tuple[int, ...] = ()) -> Any:
        """Standard normal noise for `sample`: a pytree like `mu`, each leaf with leading axes `shape`."""
        return normal_like(key, self.mu, shape)

    def sample(self, *, key: Array | None = None, noise: Any = None, shape: tuple[int, ...] = ()) -> Any:
        """Draw by reparameterization, w = mu + sigma * noise.

        Args:
            key: draws the noise. noise: or the noise itself, a pytree like `mu`. One of the two is needed.
            shape: leading axes, for several draws at once from one key.
        Returns:
            A pytree like `mu`.
        Raises:
            ValueError: neither or both given.
        """
        check_one_of("key and noise", key, noise)
        if noise is None:
            if key is None:
                raise ValueError("Expected key or noise; got neither.")
            noise = self.draw_noise(key=key, shape=shape)
        w = jax.tree.map(_draw, self.mu, self._scales(), noise)
        return w if self.mask is None else _keep(self.mask, w)

    def log_prob(self, w: Any) -> Array:
        """log q(w) in nats, summed over the pytree (over the weights that are not masked)."""
        log_q = jax.tree.map(_log_q, w, self.mu, self.rho)
        return _sum(jax.tree.map(jnp.sum, log_q if self.mask is None else _keep(self.mask, log_q)))

    def kl(self, prior: Any, *, key: Array | None = None, noise: Any = None) -> Array:
        """KL(q || p) in nats, summed: closed form where the prior has one, else estimated on one draw.

        log q(w) - log p(w) at w = sample(key=key) (or noise=noise): unbiased, and on the very weights of that draw.

        Args:
            prior: with `log_prob(w)` (its values are summed), and with `kl(mu, rho)` where there is a closed form.
            key, noise: needed only where there is none.
        Returns:
            A scalar.
        Raises:
            KeyRequiredError (a ValueError): no closed form, and neither key nor noise.

        >>> from deepuq_jax import GaussianPrior
        >>> q = MeanField.init(jnp.zeros(3), sigma=0.1)
        >>> abs(float(q.kl(GaussianPrior(0.0, 0.1)))) < 1e-10
        True
        """
        leaves = jax.tree.leaves
        priors = leaves(prior_by_leaf(prior, self.mu), is_leaf=is_prior)
        masks = [None] * len(priors) if self.mask is None else leaves(self.mask)
        tensors = list(zip(leaves(self.mu), leaves(self.rho), masks, strict=True))
        scales = leaves(self._scales())
        priors = [given(prior, *tensor) for prior, tensor in zip(priors, tensors, strict=True)]
        is_closed = [self.kl_by == "closed form" and hasattr(prior, "kl") for prior in priors]
        draws: list[Any] = [None] * len(priors)
        if not all(is_closed):
            if key is None and noise is None:
                name = type(priors[is_closed.index(False)]).__name__
                raise KeyRequiredError(expected("key", f"for the KL to {name}, which {self._no_closed_form}", "None"))
            draws = leaves(self.sample(key=key, noise=noise))
        parts = [
            _closed_kl(prior, scale, *tensor) if closed else _kl_at(w, prior, *tensor, path_only=self.kl_by == "path")
            for prior, scale, tensor, closed, w in zip(priors, scales, tensors, is_closed, draws, strict=True)
        ]
        return sum(parts[1:], parts[0])

    @property
    def _no_closed_form(self) -> str:
        return "has no closed form" if self.kl_by == "closed form" else "is estimated at a draw"


def _keep(mask: Any, values: Any) -> Any:
    """Values where the mask is True, 0 elsewhere."""
    return jax.tree.map(lambda keep, value: jnp.where(keep, value, 0.0), mask, values)


def _log_q(w: Array, mu: Array, rho: Array) -> Array:
    return gaussian_log_prob(w, mu, sigma_from_rho(rho), log_sigma(rho))


def _closed_kl(prior: Any, scale: Array, mu: Array, rho: Array, mask: Array | None) -> Array:
    if mask is None and hasattr(prior, "kl_at_scale"):
        return prior.kl_at_scale(mu, scale, rho)
    if mask is None:
        return prior.kl(mu, rho)
    return jnp.sum(_keep(mask, each_weight(prior, lambda prior, mu, rho: prior.kl(mu, rho), mu, rho)))


def _kl_at(w: Array, prior: Any, mu: Array, rho: Array, mask: Array | None, *, path_only: bool) -> Array:
    """log q(w) - log p(w); with `path_only` its gradient is through w alone."""
    log_q = _log_q(w, *(jax.lax.stop_gradient((mu, rho)) if path_only else (mu, rho)))
    if mask is None:
        return jnp.sum(log_q) - jnp.sum(prior.log_prob(w))
    return jnp.sum(_keep(mask, log_q - each_weight(prior, lambda prior, w: jnp.sum(prior.log_prob(w)), w)))


def with_kl_by(model: Any, kl_by: str) -> Any:
    """A copy of the model whose posteriors have this `kl_by`.

    Raises:
        ValueError: no `MeanField` in the model.

    >>> q = MeanField.init(jnp.zeros(3))
    >>> with_kl_by({"q": q}, "draw")["q"].kl_by
    'draw'
    """
    if not any(map(_is_posterior, jax.tree.leaves(model, is_leaf=_is_posterior))):
        raise ValueError(expected("model", "to hold a mean-field posterior", type(model).__name__))
    return map_posteriors(lambda posterior: replace(posterior, kl_by=kl_by), model)


def map_posteriors(change: Callable[[MeanField], MeanField], model: Any) -> Any:
    """A copy of a pytree with `change` of each posterior in it; what an NNX module holds twice stays one."""
    if isinstance(model, nnx.Module):
        graphdef, state = nnx.split(model)
        return nnx.merge(graphdef, map_posteriors(change, state))
    return jax.tree.map(lambda node: change(node) if _is_posterior(node) else node, model, is_leaf=_is_posterior)


def _is_posterior(node: Any) -> bool:
    return isinstance(node, MeanField)


@jax.tree_util.register_pytree_with_keys_class
@dataclass(frozen=True)
class GaussianPosterior(MeanField):
    """Diagonal Gaussian over one parameter tensor; `sigma` = softplus(`rho`).

    Args:
        mu, rho: floating arrays of one shape.
    Raises:
        ValueError: of different shapes. TypeError: not floating.

    >>> q = GaussianPosterior(jnp.zeros(2), jnp.full(2, -3.0))
    >>> q.sample(noise=jnp.zeros(2))
    Array([0., 0.], dtype=float32)
    """

    def __post_init__(self):
        # Under a transformation they may be tracers or placeholders: only real arrays are checked.
        if not (is_concrete(self.mu) and is_concrete(self.rho)):
            return
        if self.mu.shape != self.rho.shape:
            raise ValueError(expected("rho", f"of the shape of mu, {list(np.shape(self.mu))}", self.rho))
        for name, value in (("mu", self.mu), ("rho", self.rho)):
            if not jnp.issubdtype(value.dtype, jnp.floating) and value.dtype != jax.dtypes.float0:
                raise TypeError(expected(name, "to be a floating array", value))
