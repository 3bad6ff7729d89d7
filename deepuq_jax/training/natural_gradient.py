"""Natural-gradient variational inference as an optax optimizer.

Source: variational online Newton, Khan et al. 2018, arXiv 1806.04854; the precision stays positive by Lin, Schmidt &
Khan 2020, arXiv 2002.10060; with a Gaussian prior it is IVON, Shen et al. 2024, arXiv 2402.17641.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.core import Tracer

from deepuq_jax._checks import check_num_data, check_number, check_positive, expected, is_concrete
from deepuq_jax._paths import dotted
from deepuq_jax.functional.gaussian import rho_from_sigma
from deepuq_jax.functional.natural_gradient import mean_step, precision_step

# A step is divided by the weight of the KL, which a warm-up starts at 0. Below this weight it is divided by this.
_SMALLEST_WEIGHT = 0.01
# The precision is an average over the last quarter of all steps. BETA2 is for an unknown number of steps.
LEARNING_RATE, SHARE, BETA2 = 0.1, 4, 0.9995
# The optimizer of all parameters that do not belong to a posterior, if none is given.
_REST = optax.adam(1e-3)
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


class NaturalGradient(optax.GradientTransformationExtraArgs):
    """The optax optimizer that `natural_gradient` returns.

    Two with equal settings are equal, so that the second finds the programs that were compiled for the first.
    """

    def start(self, params: Any) -> Any:
        """Return the parameters at the start of training, with `initial_precision`."""
        return self._rule.start(params)

    def for_training(self, steps: int | None, num_data: Any) -> NaturalGradient:
        """Fill in settings that are not set from the number of steps and of examples; either may be unknown."""
        return _optimizer(self._rule.for_training(steps, num_data))

    @property
    def _rule(self) -> _Rule:
        return self.init.rule  # type: ignore[attr-defined]


def natural_gradient(
    learning_rate: Any = None,
    *,
    num_data: Any = None,
    beta1: Any = 0.9,
    beta2: Any = None,
    mean_limit: float = 0.3,
    precision_limit: float = 0.1,
    initial_precision: Any = None,
    rest: optax.GradientTransformation = _REST,
) -> NaturalGradient:
    """Optimize posteriors by natural gradients.

    S <- S (1 + a + a^2 / 2),   a = (1 - beta2) * sigma * dL/dsigma,   S = 1 / sigma^2
    mu <- mu - learning_rate * g / S,   g the debiased moving average of dL/dmu with decay beta1

    L = N * loss / kl_weight is in nats of the whole data set of N examples. For a loss that is quadratic in the
    weights, S tends to the Hessian plus the prior's precision, and a learning rate of 1 is Newton's step. No step in mu
    is longer than `mean_limit` standard deviations, and |a| is at most `precision_limit`. An optimizer step stores one
    array per posterior beside mu and rho, where Adam stores four.

    A posterior is a pair of arrays mu and rho at the same path, as in every model of this package. All other
    parameters are trained by `rest`.

    Args:
        learning_rate: a number or a schedule. In `fit`, the default falls from 0.1 to 0 as a cosine, so that the noise
            of the gradient fades from the means; elsewhere it is 0.1. In your own loop and in a chain, pass
            optax.cosine_decay_schedule(0.1, steps).
        num_data: number of examples N in the whole data set. `fit`, `train_epoch` and `train_step` take it from the
            objective `ELBO`, so only your own loops and objectives need it here.
        beta1: decay of the average of dL/dmu.
        beta2: decay of the average that the precision is, a number or a schedule. In `fit`, the default is
            1 - 4 / steps; elsewhere it is 0.9995. A smaller decay forgets the start sooner, and is noisier.
        mean_limit: the longest step of a mean, in standard deviations; infinity for none.
        precision_limit: the largest |a|; infinity for none.
        initial_precision: the precision of all posteriors at the start, per example: S = N * initial_precision, as
            `hess_init` of IVON. `TrainState.create`, and so `fit`, sets it. If it is None, the model's own sigma stays.
        rest: the optimizer of all other parameters, Adam at 1e-3 by default.
    Returns:
        An optax optimizer with extra arguments.
    Raises:
        ValueError, TypeError: a setting is out of range. `init` raises ValueError if the parameters hold no posterior;
            `update` if the number of examples is unknown, or the objective is not in units of it.

    >>> import deepuq_jax as dq
    >>> from flax import nnx
    >>> x = jnp.linspace(-1, 1, 64)[:, None]
    >>> model = dq.BayesByBackpropMLP(1, (16,), 1, likelihood=dq.Gaussian(0.1), rngs=nnx.Rngs(0))
    >>> result = dq.fit(model, x, x**2, key=jax.random.key(0), epochs=300, optimizer=dq.natural_gradient())
    >>> bool(result.history["nll"][-1] < 0)
    True
    """
    _check_above_zero("mean_limit", mean_limit)
    _check_above_zero("precision_limit", precision_limit)
    if learning_rate is not None and not callable(learning_rate):
        _check_above_zero("learning_rate", learning_rate)
    for name, decay in (("beta1", beta1), ("beta2", beta2)):
        if decay is not None and not callable(decay):
            _check_decay(name, decay)
    if num_data is not None:
        check_num_data(num_data)
    if initial_precision is not None:
        check_positive("initial_precision", initial_precision)
    rule = _Rule(
        learning_rate=learning_rate,
        num_data=num_data,
        beta1=beta1,
        beta2=beta2,
        mean_limit=float(mean_limit),
        precision_limit=float(precision_limit),
        initial_precision=initial_precision,
        rest=optax.with_extra_args_support(rest),
    )
    return _optimizer(rule)


def _optimizer(rule: _Rule) -> NaturalGradient:
    return NaturalGradient(_Init(rule), _Update(rule))


def _check_above_zero(name: str, value: Any) -> None:
    if not isinstance(check_number(name, value), Tracer) and not value > 0:
        raise ValueError(expected(name, "to be above zero", f"{value!r}"))


def _check_decay(name: str, value: Any) -> None:
    if not isinstance(check_number(name, value), Tracer) and not 0 <= value < 1:
        raise ValueError(expected(name, "to be at least 0 and below 1", f"{value!r}"))


@dataclass(frozen=True)
class _Rule:
    """The settings of `natural_gradient`, and what follows from them for a pytree of parameters."""

    learning_rate: Any
    num_data: Any
    beta1: Any
    beta2: Any
    mean_limit: float
    precision_limit: float
    initial_precision: Any
    rest: optax.GradientTransformationExtraArgs

    def for_training(self, steps: int | None, num_data: Any) -> Self:
        filled: dict[str, Any] = {}
        if self.num_data is None and isinstance(num_data, (int, float)):
            filled["num_data"] = num_data
        if steps is not None and self.learning_rate is None:
            filled["learning_rate"] = _cosine(steps)
        if steps is not None and self.beta2 is None:
            filled["beta2"] = max(0.0, 1.0 - SHARE / steps)
        return replace(self, **filled)

    def start(self, params: Any) -> Any:
        """Return the parameters with `initial_precision`, if it is set."""
        if self.initial_precision is None:
            return params
        if self.num_data is None:
            what = "with initial_precision, as in natural_gradient(num_data=N)"
            raise ValueError(expected("num_data", what, "None"))
        leaves, treedef = jax.tree.flatten(params)
        for _, rho in _posteriors(params).values():
            sigma = jnp.asarray(self.num_data * self.initial_precision, leaves[rho].dtype) ** -0.5
            leaves[rho] = jnp.full_like(leaves[rho], rho_from_sigma(sigma))
        return treedef.unflatten(leaves)

    def init(self, params: Any) -> NaturalGradientState:
        posteriors, leaves = _posteriors(params), jax.tree.leaves(params)
        if not posteriors:
            what = "to hold a posterior, arrays mu and rho at the same path, for natural_gradient"
            raise ValueError(expected("params", what, "none"))
        for before, after in zip(leaves, jax.tree.leaves(self.start(params)), strict=True):
            if before is not after and is_concrete(before) and not bool(jnp.all(before == after)):
                what = (
                    "to be set by TrainState.create. In a chain and in your own loop, create the model with this sigma"
                )
                raise ValueError(expected("initial_precision", what, "a model with another sigma"))
        momentum = {name: jnp.zeros_like(leaves[mu]) for name, (mu, _) in posteriors.items()}
        rest = self.rest.init(_others(leaves, posteriors))
        return NaturalGradientState(jnp.zeros((), jnp.int32), momentum, rest)

    def update(
        self, updates: Any, state: NaturalGradientState, params: Any = None, *, objective: Any = None, **extra: Any
    ) -> tuple[Any, NaturalGradientState]:
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
                raise ValueError(expected("num_data", what, "None, and no ELBO that knows it"))
            return self.num_data
        return units.num_data / jnp.maximum(units.kl_weight, _SMALLEST_WEIGHT)


@dataclass(frozen=True)
class _Init:
    """`_Rule.init` as a function that equals another of the same settings."""

    rule: _Rule

    def __call__(self, params: Any) -> NaturalGradientState:
        return self.rule.init(params)


@dataclass(frozen=True)
class _Update:
    """`_Rule.update` as a function that equals another of the same settings."""

    rule: _Rule

    def __call__(self, updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, NaturalGradientState]:
        return self.rule.update(updates, state, params, **extra)


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
