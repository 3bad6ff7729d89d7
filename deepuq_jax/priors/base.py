"""What a prior over weights offers, and how an object of a user's own becomes one."""

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
    """A density over the weights of a tensor: the contract, with its defaults.

    A subclass gives `log_prob`; where the KL from a Gaussian has a closed form, it also gives `kl` and says so by
    `has_closed_form_kl`. Plain numbers in it are static, arrays are leaves of the pytree that it is.

    Attributes:
        is_learned: whether its arrays are trained along with the posterior.
    """

    is_learned: ClassVar[bool] = False

    @property
    def has_closed_form_kl(self) -> bool:
        """Whether `kl` is there; without it the KL is estimated at draws of the weights."""
        return False

    @property
    def name(self) -> str:
        """What an error message calls it."""
        return type(self).__name__

    @abstractmethod
    def log_prob(self, w: Array) -> Array:
        """log p(w), summed over the tensor, in nats: a scalar."""

    def kl(self, mu: Array, rho: Array) -> Array:
        """KL(q || p) for q = N(mu, softplus(rho)^2), summed over the tensor, in nats: a scalar.

        Raises:
            NotImplementedError: no closed form.
        """
        raise NotImplementedError(f"{type(self).__name__} has no closed-form KL.")

    def kl_at_scale(self, mu: Array, scale: Scale, rho: Array) -> Array:
        """`kl`, for a training step that has computed the scale already."""
        del scale
        return self.kl(mu, rho)

    def resolve(self, mu: Array, rho: Array, mask: Array | None = None) -> Prior:
        """The prior over one tensor with the posterior N(mu, softplus(rho)^2).

        Only a prior that depends on the posterior differs from itself here. `mask` is False for pruned weights.
        """
        del mu, rho, mask
        return self


@jax.tree_util.register_pytree_with_keys_class
@dataclass(frozen=True)
class OwnPrior(Prior):
    """An object of a user's own with `log_prob(w)`, and with `kl(mu, rho)` where there is a closed form.

    It may be a `Prior` that is not registered as a pytree.
    """

    prior: Any

    @property
    def name(self) -> str:
        """The name of the object's class."""
        return type(self.prior).__name__

    @property
    def has_closed_form_kl(self) -> bool:
        """What the object says of itself, else whether it has a method `kl`."""
        if isinstance(self.prior, Prior):
            return self.prior.has_closed_form_kl
        return hasattr(self.prior, "kl")

    def log_prob(self, w: Array) -> Array:
        """The object's own log density."""
        return self.prior.log_prob(w)

    def kl(self, mu: Array, rho: Array) -> Array:
        """The object's own KL."""
        return self.prior.kl(mu, rho)

    def resolve(self, mu: Array, rho: Array, mask: Array | None = None) -> Prior:
        """The object's own answer; itself, if it is no `Prior`."""
        return as_prior(self.prior.resolve(mu, rho, mask)) if isinstance(self.prior, Prior) else self

    def tree_flatten_with_keys(self):
        """The object as the child, or static if JAX sees no pytree or no arrays in it."""
        if is_opaque(self.prior) or not jax.tree.leaves(self.prior):
            return (), self.prior
        return ((jax.tree_util.GetAttrKey("prior"), self.prior),), None

    @classmethod
    def tree_unflatten(cls, static: Any, children: Any) -> Self:
        """The inverse of flattening."""
        return cls(*children) if children else cls(static)


# (dotted path of a parameter, its means) -> the prior over it.
PriorRule = Callable[[str, Array], Any]


def is_prior(value: Any) -> bool:
    """Whether `value` is a prior, or an object that `as_prior` takes."""
    return isinstance(value, Prior) or (hasattr(value, "log_prob") and not isinstance(value, type))


def as_prior(value: Any, name: str = "prior") -> Prior:
    """`value` as a `Prior` that is a pytree: itself, or wrapped if it is an object of a user's own.

    Raises:
        TypeError: no `log_prob`.
    """
    if isinstance(value, Prior) and not is_opaque(value):
        return value
    if not is_prior(value):
        raise TypeError(expected(name, "to have a method log_prob(w)", value))
    return OwnPrior(value)
