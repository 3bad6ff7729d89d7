"""Adapt Flax Linen modules with their variables.

The collection "params" holds the parameters; every other collection is carried.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from flax import linen
from jax import Array

from deepuq_jax._checks import expected
from deepuq_jax.adapters.protocol import BOTH_MODES, MODE_ARGUMENTS, Parts, arguments_in_mode


@dataclass(frozen=True)
class LinenNet:
    """A Linen module and its train/eval arguments."""

    module: linen.Module
    arguments: tuple[tuple[str, bool], ...]

    def __hash__(self) -> int:
        # A module with a list among its fields cannot be hashed, although it can be compared.
        return hash((type(self.module), self.arguments))

    def __call__(self, weights: Any, carried: Any, x: Any, key: Array | None) -> tuple[Any, Any]:
        """Apply the module, with every random stream drawn from `key`.

        Returns:
            (outputs, carried collections as updated by the module)
        """
        variables = {"params": weights, **carried}
        options: dict[str, Any] = dict(self.arguments)
        if key is not None:
            options["rngs"] = key
        if not carried:
            return self.module.apply(variables, x, **options), carried
        outputs, written = self.module.apply(variables, x, mutable=list(carried), **options)
        return outputs, {**carried, **written}

    def in_mode(self, name: str, value: bool, weights: Any, carried: Any) -> LinenNet:
        """Set the mode arguments that the module's call takes."""
        arguments = arguments_in_mode(self.arguments, name, value)
        trains = any(argument in BOTH_MODES and now for argument, now in arguments)
        if name == "use_running_average" and value and carried and trains:
            what = "to take use_running_average= or deterministic= in its call, since one argument sets both modes here"
            raise ValueError(expected("the Linen module", what, ", ".join(argument for argument, _ in arguments)))
        return replace(self, arguments=arguments)

    def in_dtype(self, dtype: Any, weights: Any, carried: Any) -> LinenNet:
        """Return the network itself, which computes in the dtype of its arguments."""
        return self


def is_linen(net: Any) -> bool:
    """Whether `net` is a pair of Linen module and variables.

    The module's `apply` may take its place.
    """
    return isinstance(net, tuple) and len(net) == 2 and _module(net[0]) is not None


def _module(net: Any) -> linen.Module | None:
    owner = net.__self__ if inspect.ismethod(net) and net.__name__ == "apply" else net
    return owner if isinstance(owner, linen.Module) else None


def take_apart(net: Any, variables: Any) -> Parts:
    """Split the module into its parts.

    The mode is the default of the module's call, or training if the call has no default.
    """
    module = _module(net)
    assert module is not None  # For the type checker: `is_linen` has tested it.
    if not isinstance(variables, Mapping) or "params" not in variables:
        raise TypeError(expected("variables", 'to be a mapping with the collection "params"', type(variables).__name__))
    collections = {name: _as_dicts(collection) for name, collection in variables.items()}
    params = collections.pop("params")
    return Parts(LinenNet(module, _modes(module)), params, collections)


def _as_dicts(collection: Any) -> Any:
    """Convert mappings, frozen or not, to plain dicts.

    The state that goes into `apply` then has the same type as the state that comes out.
    """
    if isinstance(collection, Mapping):
        return {name: _as_dicts(value) for name, value in collection.items()}
    return collection


def _modes(module: linen.Module) -> tuple[tuple[str, bool], ...]:
    arguments = inspect.signature(type(module).__call__).parameters
    found = {name: arguments[name].default for name in MODE_ARGUMENTS if name in arguments}
    training = {name: not MODE_ARGUMENTS[name] for name in found}
    return tuple((name, value if isinstance(value, bool) else training[name]) for name, value in found.items())
