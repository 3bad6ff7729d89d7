"""Mean-field Gaussian posteriors, over one tensor and over any pytree.

Source: Blundell et al. 2015, arXiv 1505.05424.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
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


class KeyRequiredError(ValueError):
    """A KL with no closed form was asked for without the noise to estimate it."""


def _sum(tree: Any) -> Array:
    return jax.tree.reduce(jnp.add, tree)


def _draw(mu: Array, scale: Array, noise: Array) -> Array:
    check_noise_shape(mu, noise)
    shape = jnp.shape(noise)
    return draw_at_scale(jnp.broadcast_to(mu, shape), jnp.broadcast_to(scale, shape), jnp.asarray(noise))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MeanField:
    """Independent Gaussians over every entry of a pytree: q(w) = N(w; mu, softplus(rho)^2).

    Attributes:
        mu: means, a pytree of floating arrays.
        rho: the same pytree; the standard deviation is softplus(rho).
        scale: None, or what `with_scale` put there.

    >>> q = MeanField.init({"w": jnp.zeros((3, 2)), "b": jnp.zeros(2)}, sigma=0.05)
    >>> q.sample(key=jax.random.key(0))["w"].shape
    (3, 2)
    """

    mu: Any
    rho: Any
    scale: Any = field(default=None, repr=False, kw_only=True)

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
        if self.scale is not None:
            return jax.tree.map(sigma_of_scale, self.scale)
        return jax.tree.map(sigma_from_rho, self.rho)

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
        return jax.tree.map(_draw, self.mu, self._scales(), noise)

    def log_prob(self, w: Any) -> Array:
        """log q(w) in nats, summed over the pytree."""
        leaf = lambda w, mu, rho: jnp.sum(gaussian_log_prob(w, mu, sigma_from_rho(rho), log_sigma(rho)))
        return _sum(jax.tree.map(leaf, w, self.mu, self.rho))

    def kl(self, prior: Any, *, key: Array | None = None, noise: Any = None) -> Array:
        """KL(q || p) in nats, summed: closed form where the prior has one, else estimated on one draw.

        log q(w) - log p(w) at w = sample(key=key) (or noise=noise): unbiased, and on the very weights of that draw.

        Args:
            prior: with `log_prob(w)`, and with `kl(mu, rho)` where there is a closed form.
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
        if hasattr(prior, "kl_at_scale"):
            return _sum(jax.tree.map(prior.kl_at_scale, self.mu, self._scales(), self.rho))
        if hasattr(prior, "kl"):
            return _sum(jax.tree.map(prior.kl, self.mu, self.rho))
        if key is None and noise is None:
            raise KeyRequiredError(
                expected("key", f"for the KL to {type(prior).__name__}, which has no closed form", "None")
            )
        w = self.sample(key=key, noise=noise)
        return self.log_prob(w) - _sum(jax.tree.map(lambda leaf: jnp.sum(prior.log_prob(leaf)), w))


@jax.tree_util.register_dataclass
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
        # JAX rebuilds a registered dataclass with tracers and placeholders: only real arrays are checked.
        if not (is_concrete(self.mu) and is_concrete(self.rho)):
            return
        if self.mu.shape != self.rho.shape:
            raise ValueError(expected("rho", f"of the shape of mu, {list(np.shape(self.mu))}", self.rho))
        for name, value in (("mu", self.mu), ("rho", self.rho)):
            if not jnp.issubdtype(value.dtype, jnp.floating) and value.dtype != jax.dtypes.float0:
                raise TypeError(expected(name, "to be a floating array", value))
