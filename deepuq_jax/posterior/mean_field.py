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
from deepuq_jax._pytree import register
from deepuq_jax.functional.gaussian import (
    at_least_float32,
    check_noise_shape,
    rho_from_sigma,
    sigma_from_rho,
)
from deepuq_jax.functional.scale import Scale, draw_at_scale, scale_from_rho, sigma_of_scale
from deepuq_jax.noise import normal_like
from deepuq_jax.posterior.kl_rules import IN_CLOSED_FORM, KLRule, log_density
from deepuq_jax.priors.base import Prior
from deepuq_jax.priors.tree import as_prior_or_tree, each_weight, prior_by_leaf


class KeyRequiredError(ValueError):
    """A KL without a closed form was asked for without the noise to estimate it."""


@register(static=("kl_rule",))
@dataclass(frozen=True)
class MeanField:
    """Independent Gaussians over every entry of a pytree: q(w) = N(w; mu, softplus(rho)^2).

    Attributes:
        mu: means, a pytree of floating arrays.
        rho: the same pytree; the standard deviation is softplus(rho).
        mask: None, or the same pytree of booleans, False for weights that are 0 in every draw: see `masked`.
        scale: None, or what `with_scale` put there.
        kl_rule: how `kl` is computed.

    >>> q = MeanField.init({"w": jnp.zeros((3, 2)), "b": jnp.zeros(2)}, sigma=0.05)
    >>> q.sample(key=jax.random.key(0))["w"].shape
    (3, 2)
    """

    mu: Any
    rho: Any
    mask: Any = None
    scale: Any = field(default=None, repr=False)
    kl_rule: KLRule = IN_CLOSED_FORM

    @classmethod
    def init(cls, params: Any, sigma: Any = 0.05) -> Self:
        """A posterior centred on given parameters.

        Args:
            params: any pytree of floating arrays; they become the means, kept in at least float32.
            sigma: initial standard deviation: a number, or a pytree like `params` with one for each leaf.
        Returns:
            The posterior.
        Raises:
            TypeError: a leaf that is not a floating array. ValueError: a sigma that is not finite and above zero.

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
        if self.scale is None:
            sigmas = jax.tree.map(sigma_from_rho, self.rho)
        else:
            sigmas = jax.tree.map(sigma_of_scale, self.scale, is_leaf=_is_scale)
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
        log_q = jax.tree.map(log_density, w, self.mu, self.rho)
        sums = jax.tree.map(jnp.sum, log_q if self.mask is None else _keep(self.mask, log_q))
        return jax.tree.reduce(jnp.add, sums)

    def has_closed_form_kl(self, prior: Any) -> bool:
        """Whether `kl(prior)` needs neither key nor noise."""
        return not self.kl_rule.needs_draw(as_prior_or_tree(prior))

    def kl(self, prior: Any, *, key: Array | None = None, noise: Any = None) -> Array:
        """KL(q || p) in nats, summed: in closed form where the prior has one, else estimated on one draw.

        log q(w) - log p(w) at w = sample(key=key) (or noise=noise): unbiased, and on the very weights of that draw.

        Args:
            prior: a `Prior`, or any object with `log_prob(w)`, and with `kl(mu, rho)` where there is a closed form.
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
        parts = self._parts(prior)
        needs_draw = [self.kl_rule.needs_draw(part.prior) for part in parts]
        if not any(needs_draw):
            kls = [part.closed_kl() for part in parts]
            return sum(kls[1:], kls[0])
        check_one_of("key and noise", key, noise)
        if noise is None:
            if key is None:
                name = parts[needs_draw.index(True)].prior.name
                raise KeyRequiredError(expected("key", f"for the KL to {name}, which {self.kl_rule.reason}", "None"))
            noise = self.draw_noise(key=key)
        draws = zip(jax.tree.leaves(self.sample(noise=noise)), jax.tree.leaves(noise), strict=True)
        kls = [
            part.kl_at(*draw, self.kl_rule) if needs else part.closed_kl()
            for part, draw, needs in zip(parts, draws, needs_draw, strict=True)
        ]
        return sum(kls[1:], kls[0])

    def _parts(self, prior: Any) -> list[_Tensor]:
        """Each tensor with the prior over it."""
        leaves = jax.tree.leaves
        priors = leaves(prior_by_leaf(prior, self.mu), is_leaf=_is_prior)
        masks = [None] * len(priors) if self.mask is None else leaves(self.mask)
        scales = leaves(self._scales(), is_leaf=_is_scale)
        tensors = zip(leaves(self.mu), leaves(self.rho), masks, scales, priors, strict=True)
        return [_Tensor(mu, rho, mask, scale, prior.resolve(mu, rho, mask)) for mu, rho, mask, scale, prior in tensors]


@dataclass(frozen=True)
class _Tensor:
    """One tensor of a posterior, with the prior over it."""

    mu: Array
    rho: Array
    mask: Array | None
    scale: Scale
    prior: Prior

    def closed_kl(self) -> Array:
        """The KL in closed form, summed over the weights that are not masked."""
        if self.mask is None:
            return self.prior.kl_at_scale(self.mu, self.scale, self.rho)
        each = each_weight(self.prior, lambda prior, mu, rho: prior.kl(mu, rho), self.mu, self.rho)
        return jnp.sum(_keep(self.mask, each))

    def kl_at(self, w: Array, noise: Array, rule: KLRule) -> Array:
        """log q(w) - log p(w) at the draw w, summed over the weights that are not masked."""
        log_q = rule.log_q(w, noise, self.mu, self.rho)
        if self.mask is None:
            return jnp.sum(log_q) - jnp.sum(self.prior.log_prob(w))
        log_p = each_weight(self.prior, lambda prior, w: jnp.sum(prior.log_prob(w)), w)
        return jnp.sum(_keep(self.mask, log_q - log_p))


def _draw(mu: Array, scale: Scale, noise: Array) -> Array:
    check_noise_shape(mu, noise)
    shape = jnp.shape(noise)
    return draw_at_scale(jnp.broadcast_to(mu, shape), scale.broadcast_to(shape), jnp.asarray(noise))


def _is_scale(node: Any) -> bool:
    return isinstance(node, Scale)


def _is_prior(node: Any) -> bool:
    return isinstance(node, Prior)


def _keep(mask: Any, values: Any) -> Any:
    """Values where the mask is True, 0 elsewhere."""
    return jax.tree.map(lambda keep, value: jnp.where(keep, value, 0.0), mask, values)


@register(static=("kl_rule",))
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
