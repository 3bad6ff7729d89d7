"""The base class of priors, and a wrapper for objects."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import jax
from jax import Array

from deepuq_jax._checks import expected
from deepuq_jax._pytree import is_opaque
from deepuq_jax.functional.scale import Scale


class Prior(ABC):
    """Density over the weights of a tensor.

    A subclass defines `log_prob`. If the KL divergence of a Gaussian posterior from it has a closed form, the subclass
    also defines `kl`, and its `has_closed_form_kl` is True. A prior is a pytree: its plain numbers are static, and its
    arrays are leaves.

    Attributes:
        is_learned: whether the arrays of the prior are trained with the posterior.
    """

    is_learned: ClassVar[bool] = False

    @property
    def has_closed_form_kl(self) -> bool:
        """Whether `kl` is defined.

        If it is not, the KL is estimated at draws of the weights.
        """
        return False

    @property
    def name(self) -> str:
        """Name of the prior in error messages."""
        return type(self).__name__

    @abstractmethod
    def log_prob(self, w: Array) -> Array:
        """Compute log p(w) in nats, summed to a scalar."""

    def kl(self, mu: Array, rho: Array) -> Array:
        """Compute KL(q || p) in closed form.

        Args:
            mu, rho: parameters of q = N(mu, softplus(rho)^2), of the shape of the weights.
        Returns:
            KL in nats, summed over the tensor to a scalar.
        Raises:
            NotImplementedError: the KL has no closed form.
        """
        raise NotImplementedError(f"{type(self).__name__} has no closed-form KL.")

    def kl_at_scale(self, mu: Array, scale: Scale, rho: Array) -> Array:
        """Compute `kl` for a caller who already has the scale of `rho`."""
        del scale
        return self.kl(mu, rho)

    def resolve(self, mu: Array, rho: Array, mask: Array | None = None) -> Prior:
        """Resolve the prior for a tensor.

        The default returns the prior itself. A prior that depends on the posterior overrides this method.

        Args:
            mu, rho: parameters of the posterior N(mu, softplus(rho)^2) over the tensor.
            mask: booleans that are False for pruned weights, or None.
        """
        del mu, rho, mask
        return self


@jax.tree_util.register_pytree_with_keys_class
@dataclass(frozen=True)
class OwnPrior(Prior):
    """A prior around a user's object.

    Args:
        prior: an object with `log_prob(w)`, and with `kl(mu, rho)` if the KL has a closed form. It may be a `Prior`
            that is not registered as a pytree.
    """

    prior: Any

    @property
    def name(self) -> str:
        """Name of the object's class."""
        return type(self.prior).__name__

    @property
    def has_closed_form_kl(self) -> bool:
        """Whether the KL of the object has a closed form."""
        if isinstance(self.prior, Prior):
            return self.prior.has_closed_form_kl
        return hasattr(self.prior, "kl")

    def log_prob(self, w: Array) -> Array:
        """Return the log density that the object computes."""
        return self.prior.log_prob(w)

    def kl(self, mu: Array, rho: Array) -> Array:
        """Return the KL that the object computes."""
        return self.prior.kl(mu, rho)

    def resolve(self, mu: Array, rho: Array, mask: Array | None = None) -> Prior:
        """Let the object resolve itself if it is a `Prior`."""
        return as_prior(self.prior.resolve(mu, rho, mask)) if isinstance(self.prior, Prior) else self

    def tree_flatten_with_keys(self) -> tuple[Any, Any]:
        """Flatten the object as a child, or as static data.

        It is static if JAX does not treat it as a pytree, or if it has no leaves.
        """
        if is_opaque(self.prior) or not jax.tree.leaves(self.prior):
            return (), self.prior
        return ((jax.tree_util.GetAttrKey("prior"), self.prior),), None

    @classmethod
    def tree_unflatten(cls, static: Any, children: Any) -> Self:
        """Rebuild the wrapper around the object."""
        return cls(*children) if children else cls(static)


# (dotted path of a parameter, its means) -> the prior over it.
PriorRule = Callable[[str, Array], Any]


def is_prior(value: Any) -> bool:
    """Whether `as_prior` accepts `value`."""
    return isinstance(value, Prior) or (hasattr(value, "log_prob") and not isinstance(value, type))


def as_prior(value: Any, name: str = "prior") -> Prior:
    """Convert a prior or a user's object to a `Prior`.

    The result is a pytree: a registered `Prior` is returned as it is, and anything else is wrapped.

    Args:
        value: a `Prior`, or an object with `log_prob(w)`.
        name: name of the argument in an error message.
    Raises:
        TypeError: `value` has no method `log_prob`.
    """
    if isinstance(value, Prior) and not is_opaque(value):
        return value
    if not is_prior(value):
        raise TypeError(expected(name, "to have a method log_prob(w)", value))
    return OwnPrior(value)
