"""The contract of a Bayesian model."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import expected
from deepuq_jax.likelihoods.base import Likelihood, as_likelihood
from deepuq_jax.model.state import apply_to_copy


class BaseModel:
    """The contract of a Bayesian model, with defaults.

    Attributes:
        likelihood: the default for scoring the outputs, or None.
    """

    likelihood: Any = None

    def named_likelihood(self) -> Likelihood | None:
        """Return the model's likelihood, or None."""
        return None if self.likelihood is None else as_likelihood(self.likelihood)

    @property
    @abstractmethod
    def has_closed_form_kl(self) -> bool:
        """Whether `kl` needs neither key nor noise."""

    @abstractmethod
    def __call__(self, x: Any, *, key: Array | None = None, noise: Any = None) -> Any:
        """Return outputs at a draw or at the means.

        `key` or `noise` selects the draw; without either, the weights are the posterior means.
        """

    @abstractmethod
    def kl(self, key: Array | None = None, *, noise: Any = None) -> Array:
        """Return KL(q || p) in nats, a scalar.

        Without a closed form, the KL is estimated at the draw that `key` or `noise` selects.
        """

    @abstractmethod
    def draw(self, *, key: Array) -> Any:
        """Fix the weights at the draw of `key`.

        The result f satisfies f(x) = model(x, key=key) under weight sampling.
        """

    def draw_for_kl(self, *, key: Array) -> Any:
        """Fix the weights at the draw at which `kl(key)` estimates the KL."""
        return self.draw(key=key)

    @abstractmethod
    def draw_noise(self, x: Any, *, key: Array) -> Any:
        """Draw the noise of `model(x, key=key)`.

        The noise reproduces the call: model(x, noise=model.draw_noise(x, key=key)) equals model(x, key=key).
        """

    def propagate(self, mean: Any, var: Array | None = None) -> tuple[Array, Array]:
        """Compute the outputs' mean and variance over the weights.

        The moments are in closed form, for inputs with the given mean and variance.

        Raises:
            ValueError: the model has no closed form.
        """
        del mean, var
        what = "to have propagate(mean, var) for method='moments'"
        raise ValueError(expected("model", what, type(self).__name__))

    def call_with_state(self, x: Any, *, key: Array | None = None, noise: Any = None) -> tuple[Any, Any]:
        """Return the outputs and the carried state after the call.

        In training mode, the state holds the updated BatchNorm statistics.
        """
        return apply_to_copy(lambda fresh: fresh(x, key=key, noise=noise), self, key)


class FixedModel(BaseModel):
    """A model with fixed weights.

    It ignores noise, and its KL is 0. A subclass implements the call.
    """

    @property
    def has_closed_form_kl(self) -> bool:
        """True: the KL is 0."""
        return True

    def kl(self, key: Array | None = None, *, noise: Any = None) -> Array:
        """Return 0 nats, since nothing is random."""
        return jnp.zeros(())

    def draw_noise(self, x: Any, *, key: Array) -> tuple[()]:
        """Return no noise."""
        return ()

    def draw(self, *, key: Array) -> Self:
        """Return the model itself."""
        return self
