"""The contracts of objectives, and a wrapper for functions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

from jax import Array

from deepuq_jax._checks import expected
from deepuq_jax._pytree import as_pytree, register
from deepuq_jax.likelihoods.base import Likelihood
from deepuq_jax.model.own import as_model
from deepuq_jax.objectives.targets import Score
from deepuq_jax.types import ELBOTerms


class Units(NamedTuple):
    """The units of an objective that is a loss per example.

    Attributes:
        num_data: number of examples in the whole data set.
        kl_weight: the weight of KL / num_data in the loss.
    """

    num_data: Any
    kl_weight: Any


class Objective(Protocol):
    """A callable that scores a model on a batch.

    `train_step`, `train_epoch` and `fit` accept any such callable. They pass it a key per step and the number of the
    step, and minimise the loss that it returns. A pytree is traced, so changing the numbers in its leaves does not
    recompile. A plain function is static, so another function object, even with the same source text, recompiles.
    """

    def __call__(self, model: Any, x: Any, y: Any, *, key: Array, step: Any = 0) -> tuple[Array, ELBOTerms]:
        """Compute the loss, a scalar, and its terms."""
        ...


class VariationalObjective(ABC):
    """The contract of the objectives of this package.

    Such an objective can state its units, its score and its likelihood.

    Attributes:
        measures: names of the fields of `ELBOTerms` that a history of training holds.
    """

    measures: tuple[str, ...] = ("loss", "nll", "kl")

    @abstractmethod
    def __call__(
        self, model: Any, x: Any, y: Any, *, key: Array | None = None, noise: Any = None, step: Any = None
    ) -> tuple[Array, ELBOTerms]:
        """Compute the loss, a scalar, and its terms.

        Pass either `key` or `noise`, which has a leading axis of draws.
        """

    def for_data(self, num_data: int) -> Self:
        """Fill in the number of examples, if it is not set.

        The number counts the examples of the whole data set. The default returns the objective as it is.
        """
        del num_data
        return self

    def check_size(self, num_data: int) -> None:
        """Refuse data that cannot be the data of the objective; the default accepts any."""
        del num_data

    def units(self, step: Any) -> Units | None:
        """Return the units of the loss at a step, or None if they are unknown.

        Raises:
            ValueError: the loss is not per example.
        """
        del step
        return None

    def score_for(self, model: Any) -> Score | None:
        """Return the score whose expectation is taken.

        It is a function of (outputs, y), or None if it is unknown.
        """
        del model
        return None

    def likelihood_for(self, model: Any) -> Likelihood | None:
        """Return the likelihood for scoring validation data, or None."""
        return as_model(model).named_likelihood()


@register()
@dataclass(frozen=True)
class OwnObjective(VariationalObjective):
    """An objective around a user's callable.

    Args:
        function: a pytree or a `StaticFunction`, with the signature of `Objective`.
    """

    function: Any

    def __call__(
        self, model: Any, x: Any, y: Any, *, key: Array | None = None, noise: Any = None, step: Any = None
    ) -> tuple[Array, ELBOTerms]:
        """Return the value of the callable.

        Raises:
            TypeError: the callable does not return (loss, ELBOTerms).
        """
        result = self.function(model, x, y, key=key, step=0 if step is None else step)
        if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], ELBOTerms)):
            raise TypeError(expected("objective", "to return (loss, ELBOTerms)", type(result).__name__))
        loss, terms = result
        return loss, terms._replace(loss=loss)


def as_objective(objective: Any) -> VariationalObjective:
    """Convert an objective or a user's callable to a `VariationalObjective`.

    Raises:
        TypeError: `objective` is not callable, or is a class instead of an instance.
    """
    if isinstance(objective, VariationalObjective):
        return objective
    if isinstance(objective, type):
        raise TypeError(expected("objective", "to be an instance, such as ELBO()", f"the class {objective.__name__}"))
    return OwnObjective(as_pytree("objective", objective))


def value_at(name: str, value: Any, step: Any) -> Any:
    """Evaluate a constant or scheduled number.

    Args:
        name: name of the argument.
        value: a number or a schedule.
        step: number of the training step, or None.
    Raises:
        ValueError: the number is scheduled, and the step is not given.
    """
    if not callable(value):
        return value
    if step is None:
        raise ValueError(expected("step", f"with a {name} that is a schedule, as in objective(..., step=i)", "None"))
    return value(step)
