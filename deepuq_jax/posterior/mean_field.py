"""Mean-field Gaussian posteriors over tensors and pytrees.

Source: Blundell et al. 2015, arXiv 1505.05424.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from deepuq_jax._arguments import broadcasts_to
from deepuq_jax._checks import check_one_of, check_positive, check_real, describe, expected, is_concrete
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
    """A KL estimate was requested without key or noise."""


@register(static=("kl_rule",))
@dataclass(frozen=True)
class MeanField:
    """Independent Gaussians over all entries of a pytree.

    q(w) = N(w; mu, sigma^2), with the standard deviation sigma = softplus(rho)

    Attributes:
        mu: means, a pytree of floating arrays.
        rho: a pytree like `mu`; the standard deviation is softplus(rho).
        mask: None, or a pytree of booleans like `mu`, False for weights that are 0 in every draw; see `masked`.
        scale: None, or the scales of `rho`, from `with_scale` or from a state of training.
        kl_rule: the rule by which `kl` is computed.

    >>> q = MeanField.init({"w": jnp.zeros((3, 2)), "b": jnp.zeros(2)}, sigma=0.05)
    >>> q.sample(key=jax.random.key(0))["w"].shape
    (3, 2)
    """

    mu: Any
    rho: Any
    mask: Any = None
    scale: Any = field(default=None, repr=False)
    kl_rule: KLRule = IN_CLOSED_FORM

    def __post_init__(self) -> None:
        if jax.tree.structure(self.mu) != jax.tree.structure(self.rho):
            raise ValueError(expected("rho", "to be a pytree like mu", self.rho))
        if not jax.tree.leaves(self.mu):
            raise ValueError(expected("mu", "to hold at least one array", self.mu))
        for mu, rho in zip(jax.tree.leaves(self.mu), jax.tree.leaves(self.rho), strict=True):
            for name, leaf in (("mu", mu), ("rho", rho)):
                if not hasattr(leaf, "dtype") or not jnp.issubdtype(check_real(name, leaf).dtype, jnp.floating):
                    raise TypeError(expected(name, "to hold floating arrays", describe(leaf)))
            if mu.shape != rho.shape:
                raise ValueError(expected("rho", f"of the shape of mu, {list(mu.shape)}", rho))

    @classmethod
    def init(cls, params: Any, sigma: Any = 0.05) -> Self:
        """Create a posterior centred on given parameters.

        Args:
            params: any pytree of floating arrays. They become the means, in at least float32.
            sigma: initial standard deviation, a number or a pytree like `params` with a value for each leaf.
        Returns:
            The posterior.
        Raises:
            TypeError: a leaf is not a floating array. ValueError: a sigma is not finite and positive.

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
        if jax.tree.structure(sigmas) != jax.tree.structure(params):
            raise TypeError(expected("sigma", "to be a number, or a pytree like the parameters", sigma))
        for leaf, value in zip(jax.tree.leaves(params), jax.tree.leaves(sigmas), strict=True):
            if not broadcasts_to(np.shape(value), leaf.shape):
                raise ValueError(expected("sigma", f"to broadcast to a parameter, {list(leaf.shape)}", value))
        mu = jax.tree.map(at_least_float32, params)
        rho = jax.tree.map(_rho_like, mu, sigmas)
        return cls(mu, rho)

    @property
    def sigma(self) -> Any:
        """Standard deviations softplus(rho), as a pytree like `mu`."""
        if self.scale is None:
            sigmas = jax.tree.map(sigma_from_rho, self.rho)
        else:
            sigmas = jax.tree.map(sigma_of_scale, self.scale, is_leaf=_is_scale)
        return sigmas if self.mask is None else _keep(self.mask, sigmas)

    def masked(self, mask: Any) -> Self:
        """Fix weights at 0.

        Their means and draws are 0, and they add nothing to the KL.

        Args:
            mask: booleans like `mu`, False for weights that are fixed at 0; None leaves the posterior as it is.
        """
        return self if mask is None else replace(self, mu=_keep(mask, self.mu), mask=mask)

    def with_scale(self) -> Self:
        """Compute the scales once, for all uses in a step."""
        return replace(self, scale=self._scales())

    def _scales(self) -> Any:
        return jax.tree.map(scale_from_rho, self.rho) if self.scale is None else self.scale

    def mean(self) -> Any:
        """Return the posterior means, `mu`."""
        return self.mu

    def draw_noise(self, *, key: Array, shape: tuple[int, ...] = ()) -> Any:
        """Draw standard normal noise for `sample`.

        Returns:
            A pytree like `mu`, with leading axes `shape` on each leaf.
        """
        return normal_like(key, self.mu, shape)

    def sample(self, *, key: Array | None = None, noise: Any = None, shape: tuple[int, ...] = ()) -> Any:
        """Draw weights by reparameterization.

        w = mu + sigma * noise, with the standard deviation sigma

        Args:
            key: a key to draw the noise from. Pass either `key` or `noise`.
            noise: standard normal numbers, a pytree like `mu`.
            shape: leading axes, for several draws from the same key.
        Returns:
            A pytree like `mu`.
        Raises:
            ValueError: neither or both of `key` and `noise` are given.
        """
        check_one_of("key and noise", key, noise)
        if noise is None:
            if key is None:
                raise ValueError("Expected key or noise; got neither.")
            noise = self.draw_noise(key=key, shape=shape)
        w = jax.tree.map(_draw, self.mu, self._scales(), noise)
        return w if self.mask is None else _keep(self.mask, w)

    def log_prob(self, w: Any) -> Array:
        """Compute log q(w) in nats, summed over the pytree.

        Masked weights do not contribute.
        """
        log_q = jax.tree.map(log_density, w, self.mu, self.rho)
        sums = jax.tree.map(jnp.sum, log_q if self.mask is None else _keep(self.mask, log_q))
        return jax.tree.reduce(jnp.add, sums)

    def has_closed_form_kl(self, prior: Any) -> bool:
        """Whether `kl(prior)` needs neither key nor noise."""
        return not self.kl_rule.needs_draw(as_prior_or_tree(prior))

    def kl(self, prior: Any, *, key: Array | None = None, noise: Any = None) -> Array:
        """Compute the KL divergence KL(q || p) from a prior.

        If the KL has a closed form, that form is used. For `GaussianPrior` it is, per component,
        log(sigma_p / sigma_q) + (sigma_q^2 + (mu_q - mu_p)^2) / (2 sigma_p^2) - 1/2,
        with standard deviations sigma_q = softplus(rho) and sigma_p. Otherwise the KL is estimated without bias as
        log q(w) - log p(w), at the weights w that `sample(key=key)` or `sample(noise=noise)` returns.

        Args:
            prior: a `Prior`, or any object with `log_prob(w)`, and with `kl(mu, rho)` if the KL has a closed form.
            key, noise: needed only for an estimate, as in `sample`.
        Returns:
            KL in nats, summed over the components to a scalar.
        Raises:
            KeyRequiredError: the KL has no closed form, and neither key nor noise is given.

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
        """Return each tensor with the prior over it."""
        leaves = jax.tree.leaves
        priors = leaves(prior_by_leaf(prior, self.mu), is_leaf=_is_prior)
        masks = [None] * len(priors) if self.mask is None else leaves(self.mask)
        scales = leaves(self._scales(), is_leaf=_is_scale)
        tensors = zip(leaves(self.mu), leaves(self.rho), masks, scales, priors, strict=True)
        return [_Tensor(mu, rho, mask, scale, prior.resolve(mu, rho, mask)) for mu, rho, mask, scale, prior in tensors]


@dataclass(frozen=True)
class _Tensor:
    """A tensor of a posterior, with the prior over it."""

    mu: Array
    rho: Array
    mask: Array | None
    scale: Scale
    prior: Prior

    def closed_kl(self) -> Array:
        """Compute the KL in closed form, summed over unmasked weights."""
        if self.mask is None:
            return self.prior.kl_at_scale(self.mu, self.scale, self.rho)
        each = each_weight(self.prior, lambda prior, mu, rho: prior.kl(mu, rho), self.mu, self.rho)
        return jnp.sum(_keep(self.mask, each))

    def kl_at(self, w: Array, noise: Array, rule: KLRule) -> Array:
        """Estimate the KL at the draw w.

        The estimate is log q(w) - log p(w), summed over unmasked weights.
        """
        log_q = rule.log_q(w, noise, self.mu, self.rho, self.scale)
        if self.mask is None:
            return jnp.sum(log_q) - jnp.sum(self.prior.log_prob(w))
        log_p = each_weight(self.prior, lambda prior, w: jnp.sum(prior.log_prob(w)), w)
        return jnp.sum(_keep(self.mask, log_q - log_p))


def _draw(mu: Array, scale: Scale, noise: Array) -> Array:
    check_noise_shape(mu, noise)
    shape = jnp.shape(noise)
    return draw_at_scale(jnp.broadcast_to(mu, shape), scale.broadcast_to(shape), jnp.asarray(noise))


def _rho_like(mu: Array, sigma: Any) -> Array:
    """Return the rho of a standard deviation, of the shape of the means and on their devices."""
    rho = rho_from_sigma(jnp.asarray(sigma, mu.dtype))
    if is_concrete(mu) and mu.committed:
        # If the means lie over several devices, each device makes only its part.
        return jnp.zeros_like(mu) + rho
    return jnp.broadcast_to(rho, mu.shape)


def _is_scale(node: Any) -> bool:
    return isinstance(node, Scale)


def _is_prior(node: Any) -> bool:
    return isinstance(node, Prior)


def _keep(mask: Any, values: Any) -> Any:
    """Replace values by 0 wherever the mask is False."""
    return jax.tree.map(lambda keep, value: jnp.where(keep, value, 0.0), mask, values)


@register(static=("kl_rule",))
@dataclass(frozen=True)
class GaussianPosterior(MeanField):
    """Diagonal Gaussian posterior over a parameter tensor.

    q(w) = N(w; mu, sigma^2), with the standard deviation sigma = softplus(rho)

    Args:
        mu, rho: floating arrays of the same shape.
    Raises:
        ValueError: the shapes differ. TypeError: an array is not floating.

    >>> q = GaussianPosterior(jnp.zeros(2), jnp.full(2, -3.0))
    >>> q.sample(noise=jnp.zeros(2))
    Array([0., 0.], dtype=float32)
    """

    def __post_init__(self) -> None:
        # Under a transformation the fields may be tracers or placeholders, so only concrete arrays are checked.
        if not (is_concrete(self.mu) and is_concrete(self.rho)):
            return
        if self.mu.shape != self.rho.shape:
            raise ValueError(expected("rho", f"of the shape of mu, {list(np.shape(self.mu))}", self.rho))
        for name, value in (("mu", self.mu), ("rho", self.rho)):
            if value.dtype != jax.dtypes.float0:
                check_real(name, value)
        for name, value in (("mu", self.mu), ("rho", self.rho)):
            if not jnp.issubdtype(value.dtype, jnp.floating) and value.dtype != jax.dtypes.float0:
                raise TypeError(expected(name, "to be a floating array", value))
