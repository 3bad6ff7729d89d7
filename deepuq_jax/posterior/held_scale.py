"""The parameters of a posterior in training by natural gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import jax
import jax.numpy as jnp

from deepuq_jax._pytree import register
from deepuq_jax.functional.gaussian import at_least_float32, rho_from_sigma, sigma_from_rho
from deepuq_jax.functional.scale import Scale, rho_of_scale
from deepuq_jax.posterior.kl_rules import KLRule
from deepuq_jax.posterior.mean_field import MeanField

# Scales are held above this number, and are divided by the sigma of a prior without loss of digits.
_SMALLEST = 1e-30


@register(static=("kind", "kl_rule"))
@dataclass(frozen=True)
class HeldScale:
    """Means and scales of a mean-field posterior.

    A step of natural gradients multiplies sigma, and needs the derivative with respect to log sigma, which is the
    gradient with respect to a `Scale`. It takes two thirds of the time that it takes from and to rho, through softplus,
    its derivative and its inverse.

    Attributes:
        mu: means, a pytree of floating arrays.
        scale: a pytree like `mu`, of `Scale` in at least float32.
        kind: the class of the posterior.
        kl_rule: as in `MeanField`.
    """

    mu: Any
    scale: Any
    kind: type[MeanField]
    kl_rule: KLRule

    def __getattr__(self, name: str) -> Any:
        """Forward to the posterior, so that a model that `combine` builds from a state can be called."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.posterior(), name)

    @classmethod
    def of(cls, posterior: MeanField) -> Self:
        """Hold the scales of a posterior; a sigma below 1e-30 becomes 1e-30."""
        return cls(posterior.mu, jax.tree.map(_held, posterior.rho), type(posterior), posterior.kl_rule)

    def posterior(self) -> MeanField:
        """Return the posterior of a step.

        Its draws and its KL use the scales. Its rho is a function of them, which costs nothing if it is not used.
        """
        rho = jax.tree.map(rho_of_scale, self.scale, is_leaf=_is_scale)
        return self.kind(self.mu, rho, scale=self.scale, kl_rule=self.kl_rule)

    def stored(self) -> MeanField:
        """Return the posterior after training, with rho in the dtype of the means."""
        rho = jax.tree.map(lambda mu, scale: rho_from_sigma(scale.value).astype(mu.dtype), self.mu, self.scale)
        return self.kind(self.mu, rho, kl_rule=self.kl_rule)


def _held(rho: Any) -> Scale:
    return Scale(jnp.maximum(sigma_from_rho(at_least_float32(rho)), _SMALLEST), is_normal=True)


def _is_scale(node: Any) -> bool:
    return isinstance(node, Scale)
