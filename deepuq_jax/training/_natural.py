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
from deepuq_jax._paths import dotted
from deepuq_jax.functional.gaussian import rho_from_sigma, sigma_from_rho
from deepuq_jax.functional.natural_gradient import mean_step, precision_step
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
        for _, rho in _posteriors(params).values():
            sigma = jnp.asarray(self.num_data * self.initial_precision, leaves[rho].dtype) ** -0.5
            leaves[rho] = jnp.minimum(leaves[rho], rho_from_sigma(sigma))
        return treedef.unflatten(leaves)

    def _warn_of_start(self, params: Any) -> None:
        rhos = [jax.tree.leaves(params)[rho] for _, rho in _posteriors(params).values()]
        if self.num_data is None or not rhos or not all(is_concrete(rho) for rho in rhos):
            return
        sigma = float(np.median(np.concatenate([np.ravel(sigma_from_rho(rho)) for rho in rhos])))
        if self.num_data * sigma**2 > WIDE:
            message = (
                f"Natural gradients start at a sigma of {sigma:.2g}, wide for {self.num_data:g} examples: the steps "
            )
            message += "may be too long to learn anything. Pass natural_gradient(initial_precision=1.0)."
            warnings.warn(message, ScaleWarning, stacklevel=5)

    def init(self, params: Any) -> NaturalGradientState:
        """Create the state of the optimizer."""
        posteriors, leaves = _posteriors(params), jax.tree.leaves(params)
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
        momentum = {name: jnp.zeros_like(leaves[mu]) for name, (mu, _) in posteriors.items()}
        rest = self.rest.init(_others(leaves, posteriors))
        return NaturalGradientState(jnp.zeros((), jnp.int32), momentum, rest)

    def update(
        self, updates: Any, state: NaturalGradientState, params: Any = None, *, objective: Any = None, **extra: Any
    ) -> tuple[Any, NaturalGradientState]:
        """Turn gradients of the loss into changes of the parameters."""
        if params is None:
            raise ValueError(expected("params", "in optimizer.update(gradients, state, params)", "None"))
        posteriors = _posteriors(params)
        gradients, values = jax.tree.leaves(updates), jax.tree.leaves(params)
        others = [_others(leaves, posteriors) for leaves in (gradients, values)]
        changes: Any
        changes, rest = self.rest.update(others[0], state.rest, others[1], objective=objective, **extra)
        per_data_set = self._units(objective, extra.get("step", 0))
        beta1 = _at(self.beta1, state.count)
        beta2 = BETA2 if self.beta2 is None else _at(self.beta2, state.count)
        learning_rate = LEARNING_RATE if self.learning_rate is None else _at(self.learning_rate, state.count)
        rate, learning_rate = (1.0 - beta2) * per_data_set, learning_rate * per_data_set
        learning_rate = learning_rate / (1.0 - beta1 ** (state.count + 1))  # The average starts at 0.
        momentum = {}
        for name, (mu, rho) in posteriors.items():
            average = beta1 * state.momentum[name] + (1.0 - beta1) * gradients[mu]
            precision = precision_step(values[rho], gradients[rho], rate, self.precision_limit)
            changes[mu] = mean_step(average, precision.sigma, learning_rate, self.mean_limit)
            changes[rho], momentum[name] = precision.rho, average
        in_order = [changes[i].astype(value.dtype) for i, value in enumerate(values)]
        state = NaturalGradientState(state.count + 1, momentum, rest)
        return jax.tree.structure(params).unflatten(in_order), state

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


def has_posterior(params: Any) -> bool:
    """Whether a pytree of parameters holds a posterior."""
    return bool(_posteriors(params))


def _posteriors(params: Any) -> dict[str, tuple[int, int]]:
    """Find the posteriors of a pytree: the positions of mu and rho among its leaves, by the path of mu."""
    # `nnx.Optimizer` passes Variables to `init`, whose paths end in "value", and their arrays to `update`.
    names = [dotted(path).removesuffix(".value") for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    paths = [tuple(name.split(".")) for name in names]
    positions = {path: i for i, path in enumerate(paths)}
    found = {}
    for path, mu in positions.items():
        for i in (i for i, word in enumerate(path) if word == "mu"):
            rho = positions.get((*path[:i], "rho", *path[i + 1 :]))
            if rho is not None:
                found[".".join(path)] = mu, rho
    return found


def _others(leaves: list[Any], posteriors: dict[str, tuple[int, int]]) -> dict[int, Any]:
    """Return the leaves that belong to no posterior, by position."""
    taken = {i for pair in posteriors.values() for i in pair}
    return {i: leaf for i, leaf in enumerate(leaves) if i not in taken}


def _at(number: Any, step: Any) -> Any:
    """Evaluate a constant or a schedule."""
    return number(step) if callable(number) else number
