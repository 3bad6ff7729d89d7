"""What a likelihood offers, and how a plain function becomes one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, final

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import expected

Task = Literal["classification", "regression"]


class Likelihood(ABC):
    """p(y | outputs): the contract, with its defaults.

    A subclass gives `log_prob` and `moments`. It is hashable, a frozen dataclass of plain numbers, so that a model can
    carry it as a static part; noise that is learned belongs to the model's outputs.

    Attributes:
        task: what is predicted, labels or real numbers.
        predicts_noise: whether the outputs hold the noise too, so that nobody else is asked for it.
        heteroscedastic: whether that noise depends on the input.
        has_density: whether `log_prob` is there; without it the noise has to be named to train in nats.
        has_fixed_noise: whether the mean is the output itself and the variance does not depend on it, so that moments
            of the outputs are all that a prediction needs.
    """

    task: Task = "regression"
    predicts_noise: bool = False
    heteroscedastic: bool = False
    has_density: bool = True
    has_fixed_noise: bool = False

    @abstractmethod
    def log_prob(self, outputs: Any, y: Any) -> Array:
        """log p(y | outputs), [batch], nats per example."""

    @abstractmethod
    def moments(self, outputs: Any) -> tuple[Array, Array | None]:
        """The mean that the outputs predict (class probabilities, for labels), and the noise's variance or None."""

    def criterion(self, outputs: Any, y: Any) -> Array:
        """The scalar that `vi_elbo_step` scores by: the mean negative log-likelihood, unless documented otherwise."""
        return -jnp.mean(per_example(self, outputs, y))

    @final
    def __call__(self, outputs: Any, y: Any) -> Array:
        """`log_prob`."""
        return self.log_prob(outputs, y)


@dataclass(frozen=True)
class OwnLikelihood(Likelihood):
    """A function of a user's own, (outputs, y) -> [batch] in nats; an object with `moments` can also predict."""

    function: Callable[..., Any]
    task: Task = "regression"

    def log_prob(self, outputs: Any, y: Any) -> Array:
        """The function's own value."""
        return self.function(outputs, y)

    def moments(self, outputs: Any) -> tuple[Array, Array | None]:
        """The object's own moments.

        Raises:
            ValueError: a plain function, which has none.
        """
        if not hasattr(self.function, "moments"):
            what = "to say what the outputs predict, by moments(outputs) -> (mean, variance or None)"
            raise ValueError(expected("likelihood", what, self.function))
        return self.function.moments(outputs)  # type: ignore[attr-defined]


def as_likelihood(value: Any, name: str = "likelihood", *, task: Task = "regression") -> Likelihood:
    """`value` as a `Likelihood`: itself, or wrapped if it is a function of a user's own.

    Args:
        value: a likelihood, or a function (outputs, y) -> [batch].
        name: what an error message calls it.
        task: of a function that does not say.

    Raises:
        TypeError: no callable.
    """
    if isinstance(value, Likelihood):
        return value
    if not callable(value):
        raise TypeError(expected(name, "to be a callable (outputs, y) -> [batch]", value))
    return OwnLikelihood(value, getattr(value, "task", task))


def per_example(likelihood: Likelihood, outputs: Any, y: Any) -> Array:
    """log p(y | outputs), [batch] in nats.

    Raises:
        ValueError: a likelihood that returns another shape, whose mean would have other units.
    """
    values = likelihood.log_prob(outputs, y)
    batch = jax.tree.leaves(outputs)[0].shape[:1]
    if jnp.shape(values) != batch:
        raise ValueError(expected("log_likelihood", f"to return shape {list(batch)}, nats per example", values))
    return values
