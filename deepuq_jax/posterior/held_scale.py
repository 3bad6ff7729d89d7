"""The parameters of a posterior in training by natural gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import jax
import jax.numpy as jnp

from deepuq_jax._pytree import register
from deepuq_jax.functional.gaussian import at_least_float32, sigma_from_rho
from deepuq_jax.functional.scale import Scale, rho_of_scale
from deepuq_jax.posterior.kl_rules import KLRule
from deepuq_jax.posterior.mean_field import MeanField

# A sigma below this number starts at it, so that its ratio to the sigma of a prior, up to 1e7, is a normal number.
_SMALLEST = 1e-30


@register(static=("kind", "kl_rule"))
@dataclass(frozen=True)
class HeldScale:
    """Means and scales of a mean-field posterior in a state of training.

    A step of natural gradients multiplies sigma, and needs the derivative with respect to log sigma, which is the
    gradient with respect to a `Scale`. It needs no softplus, no derivative of it and no inverse.

    Attributes:
        mu: means, a pytree of floating arrays.
        held_scale: a pytree like `mu`, of `Scale` in at least float32. Its name tells it from all other arrays.
        kind: the class of the posterior.
        kl_rule: as in `MeanField`.
    """

    mu: Any
    held_scale: Any
    kind: type[MeanField]
    kl_rule: KLRule

    @classmethod
    def of(cls, posterior: MeanField) -> Self:
        """Hold the scales of a posterior."""
        return cls(posterior.mu, jax.tree.map(_held, posterior.rho), type(posterior), posterior.kl_rule)

    def posterior(self) -> MeanField:
        """Return the posterior for an objective of this package.

        Its draws and its KL use the scales. Its rho is a function of them, which costs nothing if it is not used.
        """
        return self.kind(self.mu, self._rho(), scale=self.held_scale, kl_rule=self.kl_rule)

    def plain(self) -> MeanField:
        """Return the posterior with mu and rho alone; gradients flow from its rho to the scales."""
        rho = jax.tree.map(lambda mu, rho: rho.astype(mu.dtype), self.mu, self._rho())
        return self.kind(self.mu, rho, kl_rule=self.kl_rule)

    def _rho(self) -> Any:
        return jax.tree.map(rho_of_scale, self.held_scale, is_leaf=_is_scale)


def _held(rho: Any) -> Scale:
    return Scale(jnp.maximum(sigma_from_rho(at_least_float32(rho)), _SMALLEST), is_normal=True)


def _is_scale(node: Any) -> bool:
    return isinstance(node, Scale)
