"""The base class of likelihoods, and a wrapper for functions."""

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
    """Density p(y | outputs) of targets given a model's outputs.

    A subclass defines `log_prob` and `moments`. It is a frozen dataclass of plain numbers and thereby hashable, so a
    model can carry it as a static part. Learned noise belongs to the model's outputs.

    Attributes:
        task: "classification" for labels, "regression" for real targets.
        predicts_noise: whether the outputs hold the noise too. If they do, a `criterion` or an `aleatoric_var` that a
            caller passes has no effect.
        heteroscedastic: whether the predicted noise depends on the input.
        has_density: whether `log_prob` is defined. If it is not, training in nats needs a likelihood with a noise.
        has_fixed_noise: whether the mean is the output itself and the variance does not depend on the output. If so, a
            prediction needs only the moments of the outputs.
    """

    task: Task = "regression"
    predicts_noise: bool = False
    heteroscedastic: bool = False
    has_density: bool = True
    has_fixed_noise: bool = False

    @abstractmethod
    def log_prob(self, outputs: Any, y: Any) -> Array:
        """Compute log p(y | outputs) in nats per example, [batch]."""

    @abstractmethod
    def moments(self, outputs: Any) -> tuple[Array, Array | None]:
        """Return the predicted mean, and the variance of the noise.

        For labels, the mean is the class probabilities. The variance (not a std) is None if there is none.
        """

    def criterion(self, outputs: Any, y: Any) -> Array:
        """Return the scalar score that `vi_elbo_step` uses.

        The default is the mean negative log-likelihood in nats per example. A subclass overrides it to return another
        documented score.
        """
        return -jnp.mean(per_example(self, outputs, y))

    @final
    def __call__(self, outputs: Any, y: Any) -> Array:
        """Call `log_prob`."""
        return self.log_prob(outputs, y)


@dataclass(frozen=True)
class OwnLikelihood(Likelihood):
    """A likelihood around a user's function.

    Args:
        function: (outputs, y) -> log p(y | outputs), [batch], in nats. An object that also has a method `moments` can
            serve predictions too.
        task: "classification" or "regression".
    """

    function: Callable[..., Any]
    task: Task = "regression"

    def log_prob(self, outputs: Any, y: Any) -> Array:
        """Return the value of the function."""
        return self.function(outputs, y)

    def moments(self, outputs: Any) -> tuple[Array, Array | None]:
        """Return the moments that the user's object defines.

        Raises:
            ValueError: the object is a plain function, without `moments`.
        """
        if not hasattr(self.function, "moments"):
            what = "to say what the outputs predict, by moments(outputs) -> (mean, variance or None)"
            raise ValueError(expected("likelihood", what, self.function))
        return self.function.moments(outputs)  # type: ignore[attr-defined]


def as_likelihood(value: Any, name: str = "likelihood", *, task: Task = "regression") -> Likelihood:
    """Convert a likelihood or any other callable to a `Likelihood`.

    Args:
        value: a likelihood, or a function (outputs, y) -> [batch].
        name: name of the argument in an error message.
        task: the task of a function without an attribute `task`.

    Raises:
        TypeError: `value` is not callable.
    """
    if isinstance(value, Likelihood):
        return value
    if not callable(value):
        raise TypeError(expected(name, "to be a callable (outputs, y) -> [batch]", value))
    return OwnLikelihood(value, getattr(value, "task", task))


def per_example(likelihood: Likelihood, outputs: Any, y: Any) -> Array:
    """Compute log p(y | outputs) in nats per example.

    Returns:
        [batch]; the shape is checked.

    Raises:
        ValueError: the likelihood returns another shape; its mean would have other units than nats per example.
    """
    values = likelihood.log_prob(outputs, y)
    batch = jax.tree.leaves(outputs)[0].shape[:1]
    if jnp.shape(values) != batch:
        raise ValueError(expected("log_likelihood", f"to return shape {list(batch)}, nats per example", values))
    return values
