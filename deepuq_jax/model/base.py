"""What a Bayesian model offers, and how a class of a user's own becomes one."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import check_key, expected
from deepuq_jax._pytree import register
from deepuq_jax.likelihoods.base import Likelihood, as_likelihood
from deepuq_jax.model.state import apply_to_copy, has_streams
from deepuq_jax.model.structure import bayesian_nodes
from deepuq_jax.noise import draw_key
from deepuq_jax.posterior import KeyRequiredError


class BaseModel:
    """A Bayesian model: the contract, with its defaults.

    Attributes:
        likelihood: how its outputs are scored, where no other likelihood is passed; or None.
    """

    likelihood: Any = None

    def named_likelihood(self) -> Likelihood | None:
        """The likelihood that the model names, or None."""
        return None if self.likelihood is None else as_likelihood(self.likelihood)

    @property
    @abstractmethod
    def has_closed_form_kl(self) -> bool:
        """Whether `kl` needs neither key nor noise."""

    @abstractmethod
    def __call__(self, x: Any, *, key: Array | None = None, noise: Any = None) -> Any:
        """Outputs of one draw from `key` or `noise`, else at the posterior means."""

    @abstractmethod
    def kl(self, key: Array | None = None, *, noise: Any = None) -> Array:
        """KL(q || p) in nats, a scalar; where there is no closed form, at the weights that `key` (or `noise`) draws."""

    @abstractmethod
    def draw(self, *, key: Array) -> Any:
        """The model with its weights fixed at the draw of `key`: f(x) = model(x, key=key) under weight sampling."""

    @abstractmethod
    def draw_noise(self, x: Any, *, key: Array) -> Any:
        """The noise of `model(x, key=key)`, so that model(x, noise=model.draw_noise(x, key=key)) equals it."""

    def propagate(self, mean: Any, var: Array | None = None) -> tuple[Array, Array]:
        """Mean and variance of the outputs over the weights, in closed form, for inputs with `mean` and `var`.

        Raises:
            ValueError: a model without it.
        """
        del mean, var
        what = "to have propagate(mean, var) for method='moments'"
        raise ValueError(expected("model", what, type(self).__name__))

    def call_with_state(self, x: Any, *, key: Array | None = None, noise: Any = None) -> tuple[Any, Any]:
        """The outputs, and the carried state as the call left it (BatchNorm statistics in training mode)."""
        return apply_to_copy(lambda fresh: fresh(x, key=key, noise=noise), self, key)


class FixedModel(BaseModel):
    """A model whose weights are fixed: it ignores noise and has no KL. A subclass gives the call."""

    @property
    def has_closed_form_kl(self) -> bool:
        """It has: 0."""
        return True

    def kl(self, key: Array | None = None, *, noise: Any = None) -> Array:
        """0 nats: nothing is random."""
        return jnp.zeros(())

    def draw_noise(self, x: Any, *, key: Array) -> tuple[()]:
        """No noise."""
        return ()

    def draw(self, *, key: Array) -> Self:
        """Itself."""
        return self


@register()
@dataclass(frozen=True)
class OwnModel(BaseModel):
    """A class of a user's own under the whole contract: what it lacks is made of the Bayesian nodes in it.

    The one place that looks at what such a class has.
    """

    model: Any

    def named_likelihood(self) -> Likelihood | None:
        """Its attribute `likelihood`, or None."""
        likelihood = getattr(self.model, "likelihood", None)
        return None if likelihood is None else as_likelihood(likelihood)

    @property
    def has_closed_form_kl(self) -> bool:
        """Whether its own `kl()`, or that of every node, answers without a key."""
        if hasattr(self.model, "kl"):
            try:  # A class of a user's own cannot be asked, so it is tried: only shapes are computed.
                jax.eval_shape(self.model.kl)
            except KeyRequiredError:
                return False
            return True
        return all(as_model(node).has_closed_form_kl for node in self._nodes())

    def _nodes(self) -> list[Any]:
        nodes = [node for _, node in bayesian_nodes(self.model)]
        if not nodes:
            raise ValueError(expected("model", "to have a Bayesian layer, with kl()", type(self.model).__name__))
        return nodes

    def __call__(self, x: Any, *, key: Array | None = None, noise: Any = None) -> Any:
        """Its own call."""
        return self.model(x, key=key) if noise is None else self.model(x, noise=noise)

    def kl(self, key: Array | None = None, *, noise: Any = None) -> Array:
        """Its own `kl`, or the sum over the nodes, each with a key of its own."""
        if hasattr(self.model, "kl"):
            return self.model.kl(key) if noise is None else self.model.kl(noise=noise)
        parts = [node.kl(None if key is None else draw_key(key, i)) for i, node in enumerate(self._nodes())]
        return jnp.sum(jnp.stack(parts))

    def draw(self, *, key: Array) -> Any:
        """Its own `draw`, or a copy with every node drawn, each with a key of its own."""
        check_key(key)
        if hasattr(self.model, "draw"):
            return self.model.draw(key=key)
        number = {id(node): i for i, node in enumerate(self._nodes())}

        def fix(node: Any) -> Any:
            return as_model(node).draw(key=draw_key(key, number[id(node)])) if id(node) in number else node

        return jax.tree.map(fix, self.model, is_leaf=lambda node: id(node) in number)

    def draw_noise(self, x: Any, *, key: Array) -> Any:
        """Its own `draw_noise`.

        Raises:
            ValueError: it has none.
        """
        if not hasattr(self.model, "draw_noise"):
            raise ValueError(expected("model", "to have draw_noise(x, key=...)", type(self.model).__name__))
        return self.model.draw_noise(x, key=key)

    def propagate(self, mean: Any, var: Array | None = None) -> tuple[Array, Array]:
        """Its own `propagate`, if it has one."""
        if not hasattr(self.model, "propagate"):
            what = "to have propagate(mean, var) for method='moments'"
            raise ValueError(expected("model", what, type(self.model).__name__))
        return self.model.propagate(mean, var)

    def call_with_state(self, x: Any, *, key: Array | None = None, noise: Any = None) -> tuple[Any, Any]:
        """Its own `call_with_state`, or its call on a copy."""
        if hasattr(self.model, "call_with_state"):
            if noise is None:
                return self.model.call_with_state(x, key=key)
            return self.model.call_with_state(x, noise=noise)
        return apply_to_copy(lambda fresh: OwnModel(fresh)(x, key=key, noise=noise), self.model, key)


def as_model(model: Any) -> BaseModel:
    """`model` under the whole contract: itself, or wrapped if it is a class of a user's own."""
    return model if isinstance(model, BaseModel) else OwnModel(model)


def refuse_streams(model: Any) -> None:
    """Refuse a model with dropout where draws come in opposite pairs: a stream has no opposite.

    Raises:
        ValueError: streams in the model.
    """
    if has_streams(model):
        what = "to have no dropout, for antithetic draws"
        raise ValueError(expected("model", what, type(model).__name__))
