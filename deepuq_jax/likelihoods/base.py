"""The base classes of likelihoods, and a wrapper for functions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, final

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import check_key, expected
from deepuq_jax.functional.gaussian import at_least_float32
from deepuq_jax.functional.likelihood import points_of, sum_per_example
from deepuq_jax.functional.quantiles import invert_cdf
from deepuq_jax.types import check_level

Task = Literal["classification", "regression"]


class Likelihood(ABC):
    """Density p(y | outputs) of targets given a model's outputs.

    A subclass is a frozen dataclass of plain numbers and thereby hashable, so a model can carry it as a static part.
    Learned noise belongs to the model's outputs; masks and weights belong to the targets. A subclass defines

    - `log_prob`, to train;
    - `moments`, to predict;
    - in regression with a density other than a Gaussian, `cdf` for intervals and `sample` for draws of targets. In
      classification, `sample` follows from the probabilities of `moments`, and there are no intervals.

    Attributes:
        task: "classification" for labels, "regression" for real targets and counts.
        predicts_noise: whether the outputs hold the variances of Gaussian noise. If they do, a `criterion` or an
            `aleatoric_var` that a caller passes has no effect, as in Deep-UQ.
        heteroscedastic: whether the noise of the targets depends on the input.
        pools_noise: whether `pooled` is defined.
        has_density: whether `log_prob` is defined. If it is not, `ELBO` refuses the model and asks for a likelihood
            with noise.
        has_fixed_noise: whether the mean is the output itself and the variance does not depend on the output. If so, a
            prediction needs only the moments of the outputs.
        keeps_draws: whether a regression result keeps the outputs of its draws, for the quantiles and log-probabilities
            of their mixture. The Gaussian likelihoods keep moments alone: their result is the Gaussian with the
            predictive moments, as in Deep-UQ.
        is_discrete: whether the targets are whole numbers.
        is_positive: whether the targets are positive numbers.
    """

    task: Task = "regression"
    predicts_noise: bool = False
    heteroscedastic: bool = False
    pools_noise: bool = False
    has_density: bool = True
    has_fixed_noise: bool = False
    keeps_draws: bool = True
    is_discrete: bool = False
    is_positive: bool = False

    @final
    @property
    def is_real(self) -> bool:
        """Whether a target may be any real number."""
        return self.task == "regression" and not self.is_discrete and not self.is_positive

    @abstractmethod
    def log_prob(self, outputs: Any, y: Any) -> Array:
        """Compute log p(y | outputs) in nats per example, [batch]."""

    def log_prob_per_target(self, outputs: Any, y: Any) -> Array:
        """Compute the terms of `log_prob`, of the shape of `y`.

        Masks and weights per target need it. A `FactorizedLikelihood` defines it.
        """
        del outputs, y
        purpose = "a mask or weights per target (per example, [batch], log_prob suffices)"
        self._lacks("log_prob_per_target(outputs, y)", purpose)

    def moments(self, outputs: Any) -> tuple[Array, Array | None]:
        """Return the predicted mean, and the variance of the noise.

        For labels, the mean is the class probabilities, and entropies and mutual information are computed from them.
        The variance (not a std) is None if there is none.
        """
        del outputs
        self._lacks("moments(outputs) -> (mean, variance or None)", "predictions")

    def sample(self, outputs: Any, *, key: Array) -> Array:
        """Draw targets, one per output.

        The default draws labels from the class probabilities of `moments`.
        """
        if self.task != "classification":
            self._lacks("sample(outputs, *, key)", "draws of targets")
        check_key(key)
        return jax.random.categorical(key, jnp.log(self.moments(outputs)[0]))

    def cdf(self, outputs: Any, t: Any) -> Array:
        """Compute P(y <= t | outputs) per target.

        Args:
            outputs: outputs of the model.
            t: points of the shape of the targets.
        """
        del outputs, t
        self._lacks("cdf(outputs, t)", "quantiles and intervals")

    def quantile(self, outputs: Any, p: Any) -> Array:
        """Compute the quantile at p per target.

        It is the smallest t with P(y <= t | outputs) >= p. The default inverts `cdf` by bisection.
        """
        mean = at_least_float32(self.moments(outputs)[0])
        return invert_cdf(lambda t: self.cdf(outputs, t), points_of("p", p, mean), mean.dtype, self.is_discrete)

    @final
    def interval(self, outputs: Any, level: Any = 0.95) -> tuple[Array, Array]:
        """Compute the central interval (lower, upper) per target.

        The bounds are the quantiles at (1 - level) / 2 and (1 + level) / 2. For counts they are whole numbers and hold
        at least the probability `level`.
        """
        return central_interval(lambda p: self.quantile(outputs, p), level)

    def pooled(self, outputs: Any, y: Any, share: Any, weights: Any = None) -> Any:
        """Return outputs whose noise is pooled over the batch.

        `ELBO(heteroscedasticity=...)` needs it. Likelihoods that read Gaussian noise in the outputs define it.

        Args:
            outputs: outputs of the model.
            y: targets.
            share: share of an example's own noise; 1 leaves the outputs as they are, 0 gives all examples one noise.
            weights: weights of the examples or targets in the pool, or None for equal weights.
        """
        del outputs, y, share, weights
        self._lacks("pooled(outputs, y, share, weights)", "an ELBO with heteroscedasticity")

    def of_targets(self) -> Likelihood:
        """Return the likelihood of plain targets, for predictions.

        It is the likelihood itself, or the inner likelihood of a `Masked` or `Weighted`.
        """
        return self

    def criterion(self, outputs: Any, y: Any) -> Array:
        """Return the scalar score that `vi_elbo_step` uses.

        The default is the mean negative log-likelihood in nats per example. A subclass overrides it to return another
        score of Deep-UQ.
        """
        return -jnp.mean(per_example(self, outputs, y))

    @final
    def _take_traits(self, inner: Likelihood, *, but: tuple[str, ...] = ()) -> None:
        """Copy the attributes of an inner likelihood.

        A wrapper calls this method when it is created.
        """
        for name in _TRAITS:
            if name not in but:
                object.__setattr__(self, name, getattr(inner, name))

    @final
    def __call__(self, outputs: Any, y: Any) -> Array:
        """Call `log_prob`."""
        return self.log_prob(outputs, y)

    def _lacks(self, method: str, purpose: str) -> NoReturn:
        message = expected("likelihood", f"to define {method}, for {purpose}", type(self).__name__)
        raise ValueError(f"{message} Add the method; docs/likelihoods.md shows how.")


def central_interval(quantile: Callable[[Any], Array], level: Any) -> tuple[Array, Array]:
    """Compute a central interval from a quantile function.

    Its bounds are the quantiles at (1 - level) / 2 and (1 + level) / 2.
    """
    check_level(level)
    level = at_least_float32(level)
    return quantile(0.5 - 0.5 * level), quantile(0.5 + 0.5 * level)


# The attributes of `Likelihood`, which its docstring explains.
_TRAITS = (
    "task",
    "predicts_noise",
    "heteroscedastic",
    "pools_noise",
    "has_density",
    "has_fixed_noise",
    "keeps_draws",
    "is_discrete",
    "is_positive",
)


class FactorizedLikelihood(Likelihood):
    """A likelihood whose targets are independent given the outputs."""

    @abstractmethod
    def log_prob_per_target(self, outputs: Any, y: Any) -> Array:
        """Compute log p(y_d | outputs) in nats per target.

        The result has the shape of `y`.
        """

    def log_prob(self, outputs: Any, y: Any) -> Array:
        """Compute log p(y | outputs) in nats per example, [batch]."""
        return sum_per_example(self.log_prob_per_target(outputs, y))


@dataclass(frozen=True)
class OwnLikelihood(Likelihood):
    """A likelihood around a user's function.

    Args:
        function: (outputs, y) -> log p(y | outputs), [batch], in nats. An object that also has a method `moments` can
            serve predictions too. With `cdf` it serves intervals, and with `sample` draws of targets.
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
        return self._own("moments", "moments(outputs) -> (mean, variance or None)", "predictions")(outputs)

    def sample(self, outputs: Any, *, key: Array) -> Array:
        """Draw targets, one per output.

        The object's `sample` draws them. Without it, labels are drawn from the probabilities of its `moments`.
        """
        if self.task == "classification" and not hasattr(self.function, "sample"):
            return super().sample(outputs, key=key)
        return self._own("sample", "sample(outputs, *, key)", "draws of targets")(outputs, key=key)

    def cdf(self, outputs: Any, t: Any) -> Array:
        """Return the value of the object's `cdf`."""
        return self._own("cdf", "cdf(outputs, t)", "quantiles and intervals")(outputs, t)

    def _own(self, name: str, signature: str, purpose: str) -> Callable[..., Any]:
        method = getattr(self.function, name, None)
        if method is None:
            message = expected("likelihood", f"to define {signature}, for {purpose}", self.function)
            raise ValueError(f"{message} Inherit from Likelihood and add the method; docs/likelihoods.md shows how.")
        return method


def as_likelihood(value: Any, name: str = "likelihood", *, task: Task = "regression") -> Likelihood:
    """Convert a likelihood or any other callable to a `Likelihood`.

    Args:
        value: a likelihood, or a function (outputs, y) -> [batch].
        name: name of the argument in an error message.
        task: the task of a function without an attribute `task`.

    Raises:
        TypeError: `value` is not callable, or is a class instead of an instance.
    """
    if isinstance(value, Likelihood):
        return value
    if isinstance(value, type):
        what = f"to be an instance, such as {value.__name__}(...)"
        raise TypeError(expected(name, what, f"the class {value.__name__}"))
    if not callable(value):
        raise TypeError(expected(name, "to be a callable (outputs, y) -> [batch]", value))
    return OwnLikelihood(value, getattr(value, "task", task))


def checked_likelihood(value: Any) -> Any:
    """Check and return a model constructor's `likelihood` argument.

    Raises:
        TypeError: `value` is neither None nor callable, or is a class instead of an instance.
    """
    if value is not None:
        as_likelihood(value)
    return value


def per_example(likelihood: Likelihood, outputs: Any, y: Any) -> Array:
    """Compute log p(y | outputs) in nats per example.

    Returns:
        [batch]; the shape is checked.

    Raises:
        ValueError: the likelihood returns another shape; its mean would not be in nats per example.
    """
    values = likelihood.log_prob(outputs, y)
    batch = jax.tree.leaves(outputs)[0].shape[:1]
    if jnp.shape(values) != batch:
        raise ValueError(expected("log_likelihood", f"to return shape {list(batch)}, nats per example", values))
    return values
