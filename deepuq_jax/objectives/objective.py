"""What an objective is, and how a function of a user's own becomes one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol, Self

from jax import Array

from deepuq_jax._checks import expected
from deepuq_jax._pytree import as_pytree, register
from deepuq_jax.likelihoods.base import Likelihood
from deepuq_jax.model.base import as_model
from deepuq_jax.objectives.targets import Score
from deepuq_jax.types import ELBOTerms


class Objective(Protocol):
    """Any callable that scores a model on a batch: it trains through `train_step`, `train_epoch` and `fit`.

    It is given one key per step and the number of the step, and returns the loss to be minimised and its terms. A
    pytree is traced: other numbers in its leaves do not recompile. A plain function is static: another function
    object, even with the same text, recompiles.
    """

    def __call__(self, model: Any, x: Any, y: Any, *, key: Array, step: Any = 0) -> tuple[Array, ELBOTerms]:
        """The loss, a scalar, and its terms."""
        ...


class VariationalObjective(ABC):
    """An objective that also says how its terms are made: the contract of those in this library, with its defaults."""

    @abstractmethod
    def __call__(
        self, model: Any, x: Any, y: Any, *, key: Array | None = None, noise: Any = None, step: Any = 0
    ) -> tuple[Array, ELBOTerms]:
        """The loss, a scalar, and its terms; `noise`, a stack of noises, may stand in place of the key."""

    def for_data(self, num_data: int) -> Self:
        """The objective with the number of examples in the whole data set, where it has been left open."""
        del num_data
        return self

    def score_for(self, model: Any) -> Score | None:
        """The function of (outputs, y) whose expectation it takes, or None where that is not known."""
        del model
        return None

    def likelihood_for(self, model: Any) -> Likelihood | None:
        """The likelihood that validation data are scored by, or None where nobody names one."""
        return as_model(model).named_likelihood()


@register()
@dataclass(frozen=True)
class OwnObjective(VariationalObjective):
    """A callable of a user's own, a pytree or a `StaticFunction`."""

    function: Any

    def __call__(
        self, model: Any, x: Any, y: Any, *, key: Array | None = None, noise: Any = None, step: Any = 0
    ) -> tuple[Array, ELBOTerms]:
        """Its own value.

        Raises:
            TypeError: it does not return (loss, ELBOTerms).
        """
        result = self.function(model, x, y, key=key, step=step)
        if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], ELBOTerms)):
            raise TypeError(expected("objective", "to return (loss, ELBOTerms)", type(result).__name__))
        loss, terms = result
        return loss, terms._replace(loss=loss)


def as_objective(objective: Any) -> VariationalObjective:
    """`objective` under the whole contract: itself, or wrapped if it is a callable of a user's own.

    Raises:
        TypeError: no callable, or a class in place of an instance.
    """
    if isinstance(objective, VariationalObjective):
        return objective
    if isinstance(objective, type):
        raise TypeError(expected("objective", "to be an instance, such as ELBO()", f"the class {objective.__name__}"))
    return OwnObjective(as_pytree("objective", objective))


def weight_at(kl_weight: Any, step: Any) -> Any:
    """The weight of the KL at a step, of a number or a schedule."""
    return kl_weight(step) if callable(kl_weight) else kl_weight
