"""Adapt users' own classes to the contract of a Bayesian model."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from deepuq_jax._checks import check_key, expected
from deepuq_jax._pytree import register
from deepuq_jax.likelihoods.base import Likelihood, as_likelihood
from deepuq_jax.model.base import BaseModel, FixedModel
from deepuq_jax.model.posteriors import with_drawn_weights
from deepuq_jax.model.state import apply_to_copy, has_streams
from deepuq_jax.model.structure import bayesian_nodes
from deepuq_jax.model.variables import FixedWeight, VariableTree, unwrap
from deepuq_jax.noise import draw_key
from deepuq_jax.posterior import KeyRequiredError


@register()
@dataclass(frozen=True)
class OwnModel(BaseModel):
    """A user's own class, adapted to the contract of `BaseModel`.

    If the class lacks `kl` or `draw`, the adapter builds it. Its other methods are optional, and only this adapter
    looks them up.
    """

    model: Any

    def named_likelihood(self) -> Likelihood | None:
        """Return the class's attribute `likelihood`, or None."""
        likelihood = getattr(self.model, "likelihood", None)
        return None if likelihood is None else as_likelihood(likelihood)

    @property
    def has_closed_form_kl(self) -> bool:
        """Whether `kl` needs no key.

        If the class has no `kl`, this is true if no node needs a key.
        """
        if hasattr(self.model, "kl"):
            try:  # A user's own class cannot be asked, so its `kl` is tried. Only shapes are computed.
                jax.eval_shape(self.model.kl)
            except KeyRequiredError:
                return False
            return True
        return all(as_model(node).has_closed_form_kl for node in self._nodes())

    def _nodes(self, method: str = "kl()") -> list[Any]:
        """List the Bayesian nodes, from which `method` is built."""
        nodes = [node for _, node in bayesian_nodes(self.model)]
        if not nodes:
            what = f"to define {method} or to hold a Bayesian layer"
            raise ValueError(expected("model", what, type(self.model).__name__))
        return nodes

    def __call__(self, x: Any, *, key: Array | None = None, noise: Any = None) -> Any:
        """Call the user's model."""
        return self.model(x, key=key) if noise is None else self.model(x, noise=noise)

    def kl(self, key: Array | None = None, *, noise: Any = None) -> Array:
        """Call the class's own `kl`, or sum over its nodes.

        Each node gets a separate key.
        """
        if hasattr(self.model, "kl"):
            return self.model.kl(key) if noise is None else self.model.kl(noise=noise)
        parts = [node.kl(None if key is None else draw_key(key, i)) for i, node in enumerate(self._nodes())]
        return jnp.sum(jnp.stack(parts))

    def draw(self, *, key: Array) -> Any:
        """Call the class's own `draw`, or fix the key of its calls.

        If the class has no `draw` and cannot be called, each of its nodes is drawn instead.
        """
        check_key(key)
        if hasattr(self.model, "draw"):
            return self.model.draw(key=key)
        return DrawnModel(self.model, key) if callable(self.model) else self.draw_for_kl(key=key)

    def draw_for_kl(self, *, key: Array) -> Any:
        """Call the class's own `draw`, or draw every node.

        Each node gets a separate key, the key at which `kl` estimates the node's part.
        """
        check_key(key)
        if hasattr(self.model, "draw"):
            return self.model.draw(key=key)
        number = {id(node): i for i, node in enumerate(self._nodes("draw()"))}

        def fix(node: Any) -> Any:
            return as_model(node).draw_for_kl(key=draw_key(key, number[id(node)])) if id(node) in number else node

        return jax.tree.map(fix, self.model, is_leaf=lambda node: id(node) in number)

    def draw_noise(self, x: Any, *, key: Array) -> Any:
        """Call the class's own `draw_noise`.

        Raises:
            ValueError: the class has no `draw_noise`.
        """
        if not hasattr(self.model, "draw_noise"):
            raise ValueError(expected("model", "to have draw_noise(x, key=...)", type(self.model).__name__))
        return self.model.draw_noise(x, key=key)

    def propagate(self, mean: Any, var: Array | None = None) -> tuple[Array, Array]:
        """Call the class's own `propagate`.

        Raises:
            ValueError: the class has no `propagate`.
        """
        if not hasattr(self.model, "propagate"):
            what = "to have propagate(mean, var) for method='moments'"
            raise ValueError(expected("model", what, type(self.model).__name__))
        return self.model.propagate(mean, var)

    def call_with_state(self, x: Any, *, key: Array | None = None, noise: Any = None) -> tuple[Any, Any]:
        """Call the class's own `call_with_state`, or a copy of the model."""
        if hasattr(self.model, "call_with_state"):
            if noise is None:
                return self.model.call_with_state(x, key=key)
            return self.model.call_with_state(x, noise=noise)
        return apply_to_copy(lambda fresh: OwnModel(fresh)(x, key=key, noise=noise), self.model, key)


class StoredKey(nnx.Variable[Any]):
    """The key with which a drawn model calls the user's class."""


class DrawnModel(FixedModel, nnx.Module):
    """A draw of a user's own class.

    It keeps the weights and the key, so that f(x) = model(x, key=key) under weight sampling. No other drawn model keeps
    the key of its weights.
    """

    def __init__(self, model: Any, key: Array):
        self.model: VariableTree = VariableTree(with_drawn_weights(model), FixedWeight)
        self.key: StoredKey = StoredKey(key)
        self.likelihood: Any = nnx.static(OwnModel(model).named_likelihood())

    def __call__(self, x: Any, *, key: Array | None = None, noise: Any = None) -> Any:
        """Return the outputs of the draw."""
        return OwnModel(unwrap(self.model)).call_with_state(x, key=unwrap(self.key))[0]


def as_model(model: Any) -> BaseModel:
    """Wrap `model` in `OwnModel` unless it is a `BaseModel`."""
    return model if isinstance(model, BaseModel) else OwnModel(model)


def check_model(model: Any) -> None:
    """Require a Bayesian model.

    Raises:
        TypeError: `model` is something else, such as the result of `fit`, data, or a network without a posterior.
    """
    if isinstance(model, BaseModel):
        return
    found = type(model).__name__
    if isinstance(getattr(model, "history", None), dict) and hasattr(model, "model"):
        raise TypeError("Expected model to be a Bayesian model; got the result of fit. Pass its attribute `model`.")
    if hasattr(model, "shape") or isinstance(model, (int, float, str, list)):
        raise TypeError(f"Expected model as the first argument; got {found}. Pass the model first, then the data.")
    if not callable(model):
        raise TypeError(f"Expected model to be a pytree that can be called with a key; got {found}.")
    if not hasattr(model, "kl") and not bayesian_nodes(model):
        what = "to have a posterior over its weights"
        raise TypeError(f"{expected('model', what, found)} Turn a network into a Bayesian model with bayesianize(net).")
    if not _takes_key(model):
        raise TypeError(expected("model", "to take a key, as in __call__(self, x, *, key=None)", found))


def _takes_key(model: Any) -> bool:
    if hasattr(model, "call_with_state"):
        return True
    try:
        parameters = inspect.signature(model).parameters
    except (TypeError, ValueError):  # A callable without a signature passes.
        return True
    return "key" in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def refuse_streams(model: Any) -> None:
    """Refuse a model with dropout for antithetic draws.

    Antithetic draws come in opposite pairs, and a dropout stream has no opposite.

    Raises:
        ValueError: the model holds streams.
    """
    if has_streams(model):
        what = "to have no dropout, for antithetic draws"
        raise ValueError(expected("model", what, type(model).__name__))
