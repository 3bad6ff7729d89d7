"""The arithmetic of `natural_gradient` on a pytree of parameters."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from deepuq_jax._checks import expected, is_concrete
from deepuq_jax.functional.gaussian import rho_from_sigma, sigma_from_rho
from deepuq_jax.functional.natural_gradient import mean_step, precision_step, scale_step
from deepuq_jax.training._finite import first_row
from deepuq_jax.training._places import other_leaves, posterior_places
from deepuq_jax.training._scale import ScaleWarning

# Chosen on validation parts of three UCI sets and MNIST. The precision averages over the last quarter of all steps;
# BETA2 is for an unknown number of steps.
LEARNING_RATE, SHARE, BETA2 = 0.2, 4, 0.9995
# A start with N * sigma^2 above this gets a warning. On MNIST, `fit` learns nothing from a start at 114.
WIDE = 50.0
# A step is divided by the weight of the KL, but by no less than this, since a warm-up starts at weight 0.
SMALLEST_WEIGHT = 0.01
Schedule = Callable[[Any], Any]


@lru_cache
def _cosine(steps: int) -> Schedule:
    """Let the learning rate fall to 0; equal numbers of steps share a function, and so a compiled program."""
    return optax.cosine_decay_schedule(LEARNING_RATE, steps)


class NaturalGradientState(NamedTuple):
    """The state of `natural_gradient`.

    Attributes:
        count: number of steps so far, int32.
        momentum: moving averages of the gradients of the means, by dotted path.
        rest: the state of the optimizer of all other parameters.
    """

    count: Array
    momentum: dict[str, Array]
    rest: Any


@dataclass(frozen=True)
class Rule:
    """The settings of `natural_gradient`, and its update."""

    learning_rate: Any
    num_data: Any
    beta1: Any
    beta2: Any
    mean_limit: float
    precision_limit: float
    initial_precision: Any
    rest: optax.GradientTransformationExtraArgs

    def for_training(self, steps: int | None, num_data: Any) -> Self:
        """Fill in settings that are not set; the number of steps or of examples may be unknown."""
        filled: dict[str, Any] = {}
        if isinstance(num_data, (int, float)):
            if isinstance(self.num_data, (int, float)) and self.num_data != num_data:
                raise ValueError(expected("num_data", f"to be the {num_data:g} of the objective", f"{self.num_data:g}"))
            filled["num_data"] = num_data
        if steps is not None and self.learning_rate is None:
            filled["learning_rate"] = _cosine(steps)
        if steps is not None and self.beta2 is None:
            filled["beta2"] = max(0.0, 1.0 - SHARE / steps)
        return replace(self, **filled)

    def start(self, params: Any) -> Any:
        """Narrow the posteriors that are wider than `initial_precision`.

        If it is None, warn of a start that is far too wide.
        """
        if self.initial_precision is None:
            self._warn_of_start(params)
            return params
        if self.num_data is None:
            what = "with initial_precision, as in natural_gradient(num_data=N)"
            raise ValueError(expected("num_data", what, "None"))
        leaves, treedef = jax.tree.flatten(params)
        for place in posterior_places(params).values():
            spread = leaves[place.spread]
            sigma = jnp.asarray(self.num_data * self.initial_precision, spread.dtype) ** -0.5
            leaves[place.spread] = jnp.minimum(spread, sigma if place.is_scale else rho_from_sigma(sigma))
        return treedef.unflatten(leaves)

    def _warn_of_start(self, params: Any) -> None:
        places, leaves = posterior_places(params).values(), jax.tree.leaves(params)
        if self.num_data is None or not places or not all(is_concrete(leaves[place.spread]) for place in places):
            return
        spreads = [(leaves[place.spread], place.is_scale) for place in places]
        sigmas = [spread if is_scale else sigma_from_rho(spread) for spread, is_scale in spreads]
        sigma = float(np.median(np.concatenate([np.ravel(sigma) for sigma in sigmas])))
        if self.num_data * sigma**2 > WIDE:
            message = (
                f"Natural gradients start at a sigma of {sigma:.2g}, wide for {self.num_data:g} examples: the steps "
            )
            message += "may be too long to learn anything. Pass natural_gradient(initial_precision=1.0)."
            warnings.warn(message, ScaleWarning, stacklevel=5)

    def init(self, params: Any) -> NaturalGradientState:
        """Create the state of the optimizer."""
        posteriors, leaves = posterior_places(params), jax.tree.leaves(params)
        if not posteriors:
            what = "to hold a posterior, arrays mu and rho at the same path, for natural_gradient"
            raise ValueError(expected("params", what, "none"))
        started = leaves if self.initial_precision is None else jax.tree.leaves(self.start(params))
        for before, after in zip(leaves, started, strict=True):
            if before is not after and is_concrete(before) and not bool(jnp.all(before == after)):
                what = (
                    "to be set by TrainState.create (in a chain or your own loop, make the model with a smaller sigma)"
                )
                raise ValueError(expected("initial_precision", what, "a model with a larger sigma"))
        momentum = {name: jnp.zeros_like(leaves[place.mu]) for name, place in posteriors.items()}
        rest = self.rest.init(other_leaves(leaves, posteriors))
        return NaturalGradientState(jnp.zeros((), jnp.int32), momentum, rest)

    def update(
        self, updates: Any, state: NaturalGradientState, params: Any = None, *, objective: Any = None, **extra: Any
    ) -> tuple[Any, NaturalGradientState]:
        """Turn gradients of the loss into changes of the parameters."""
        if params is None:
            raise ValueError(expected("params", "in optimizer.update(gradients, state, params)", "None"))
        posteriors = posterior_places(params)
        gradients, values = jax.tree.leaves(updates), jax.tree.leaves(params)
        others = [other_leaves(leaves, posteriors) for leaves in (gradients, values)]
        changes: Any
        changes, rest = self.rest.update(others[0], state.rest, others[1], objective=objective, **extra)
        per_data_set = self._units(objective, extra.get("step", 0))
        beta1 = _at(self.beta1, state.count)
        beta2 = BETA2 if self.beta2 is None else _at(self.beta2, state.count)
        learning_rate = LEARNING_RATE if self.learning_rate is None else _at(self.learning_rate, state.count)
        rate, learning_rate = (1.0 - beta2) * per_data_set, learning_rate * per_data_set
        learning_rate = learning_rate / (1.0 - beta1 ** (state.count + 1))  # The average starts at 0.
        momentum = {}
        for name, place in posteriors.items():
            average = beta1 * state.momentum[name] + (1.0 - beta1) * gradients[place.mu]
            step = scale_step if place.is_scale else precision_step
            change, sigma = step(values[place.spread], gradients[place.spread], rate, self.precision_limit)
            changes[place.mu] = mean_step(average, sigma, learning_rate, self.mean_limit)
            changes[place.spread], momentum[name] = change, average
        in_order = [changes[i].astype(value.dtype) for i, value in enumerate(values)]
        state = NaturalGradientState(state.count + 1, momentum, rest)
        return jax.tree.structure(params).unflatten(in_order), state

    def first_rows(self, gradients: Any, params: Any, state: NaturalGradientState) -> tuple[Any, Any, Any]:
        """Cut the arrays of posteriors to their first rows, whose update is then the start of the whole update."""
        places = posterior_places(params)

        def cut(tree: Any) -> Any:
            leaves, treedef = jax.tree.flatten(tree)
            for i in (i for place in places.values() for i in (place.mu, place.spread)):
                leaves[i] = first_row(leaves[i])
            return treedef.unflatten(leaves)

        momentum = {name: first_row(average) for name, average in state.momentum.items()}
        return cut(gradients), cut(params), state._replace(momentum=momentum)

    def _units(self, objective: Any, step: Any) -> Any:
        """Return the factor from a loss per example to nats of the whole data set."""
        units = None if objective is None else objective.units(step)
        if units is None:
            if self.num_data is None:
                what = "to be the number of examples in the whole data set, as in natural_gradient(num_data=N)"
                raise ValueError(expected("num_data", what, "None, and an objective that does not know it"))
            return self.num_data
        return units.num_data / jnp.maximum(units.kl_weight, SMALLEST_WEIGHT)


@dataclass(frozen=True)
class Init:
    """`Rule.init` as a function; equal settings make equal functions."""

    rule: Rule

    def __call__(self, params: Any) -> NaturalGradientState:
        return self.rule.init(params)


@dataclass(frozen=True)
class Update:
    """`Rule.update` as a function; equal settings make equal functions."""

    rule: Rule

    def __call__(self, updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, NaturalGradientState]:
        return self.rule.update(updates, state, params, **extra)


def _at(number: Any, step: Any) -> Any:
    """Evaluate a constant or a schedule."""
    return number(step) if callable(number) else number
