"""Result types, and the protocol of a Bayesian model."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from deepuq_jax._checks import check_positive, expected


def check_level(level: Any) -> None:
    """Require a probability strictly between 0 and 1."""
    check_positive("level", level)
    if not isinstance(level, Tracer) and not (np.asarray(level) < 1).all():
        raise ValueError(expected("level", "to be between 0 and 1", f"{level!r}"))


class PredictiveDistribution(Protocol):
    """The distribution of targets that a prediction holds beside its moments.

    `likelihoods.mixture.PredictiveMixture` implements it.
    """

    def log_prob(self, y: Any) -> Array:
        """Compute the log predictive density of targets in nats, [batch]."""
        ...

    def cdf(self, t: Any) -> Array:
        """Compute P(y <= t) per target."""
        ...

    def quantile(self, p: Any) -> Array:
        """Compute the smallest t with P(y <= t) >= p per target."""
        ...

    def interval(self, level: Any = 0.95) -> tuple[Array, Array]:
        """Compute the central interval (lower, upper) per target."""
        ...

    def sample(self, *, key: Array) -> Array:
        """Draw targets, [draws, batch, ...]."""
        ...


@jax.tree_util.register_pytree_with_keys_class
@dataclass(frozen=True, eq=False)
class UQResult:
    """Predictive moments of a batch.

    The result is a pytree: the arrays are its children, and `metadata` is static. Every field but `mean` may be None.
    The fields after `metadata` are additions of `deepuq_jax` to the fields of Deep-UQ.

    Attributes:
        mean: predictive mean, [batch, ...].
        epistemic_var: biased variance (divided by n) over draws of the model.
        aleatoric_var: variance of the noise, averaged over draws.
        total_var: the sum of the two variances; in classification, `epistemic_var`.
        probs: class probabilities [batch, classes], in classification.
        probs_var: variance of the class probabilities over draws.
        metadata: a dict with `method`, `n_samples`, `task` and, in regression, `heteroscedastic`; each result has its
            own copy.
        predictive_entropy: entropy of `probs` [batch], in nats; None in regression.
        mutual_information: mutual information of label and weights [batch], in nats (BALD; Houlsby et al. 2011,
            arXiv 1112.5745). It is the epistemic part of `predictive_entropy`; None in regression.
        mixture: the predictive distribution over the draws, in regression with a likelihood that is not a Gaussian
            (counts, heavy tails, a likelihood of your own); else None. It holds the outputs of every draw.
    """

    mean: Array
    epistemic_var: Array | None = None
    aleatoric_var: Array | None = None
    total_var: Array | None = None
    probs: Array | None = None
    probs_var: Array | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    predictive_entropy: Array | None = None
    mutual_information: Array | None = None
    mixture: PredictiveDistribution | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "metadata", dict(self.metadata))

    def tree_flatten_with_keys(self) -> tuple[Any, Any]:
        """Flatten into named arrays and sorted metadata.

        Sorting makes results with equal metadata share a treedef.
        """
        children = [(jax.tree_util.GetAttrKey(name), getattr(self, name)) for name in _ARRAY_FIELDS]
        return children, tuple(sorted(self.metadata.items()))

    @classmethod
    def tree_unflatten(cls, metadata: Any, children: Any) -> UQResult:
        """Rebuild the result from its metadata and arrays."""
        return cls(**dict(zip(_ARRAY_FIELDS, children, strict=True)), metadata=dict(metadata))

    def interval(self, level: float = 0.95) -> tuple[Array, Array]:
        """Central interval of the predictive distribution.

        With a `mixture`, the bounds are the quantiles at (1 - level) / 2 and (1 + level) / 2 of the mixture over draws.
        Without a mixture, they are the quantiles of the Gaussian with the predictive moments: mean -+ z
        sqrt(total_var), with P(\\|Z\\| < z) = level for a standard normal Z.

        Args:
            level: probability inside the interval, between 0 and 1.
        Returns:
            (lower, upper), each of the shape of `mean`.
        Raises:
            ValueError: `level` is outside (0, 1), the task is classification, the result has no total variance, or the
                likelihood has no `cdf`.

        >>> result = UQResult(mean=jnp.zeros(1), total_var=jnp.ones(1))
        >>> [round(float(bound[0]), 2) for bound in result.interval(0.95)]
        [-1.96, 1.96]
        """
        check_level(level)
        if self.mixture is not None:
            return self.mixture.interval(level)
        if self.probs is not None or self.total_var is None:
            raise ValueError("Expected a regression result with a total_var; got a result without an interval.")
        try:
            jnp.broadcast_shapes(np.shape(level), np.shape(self.mean))
        except ValueError:
            what = f"to broadcast to the mean, {list(np.shape(self.mean))}"
            raise ValueError(expected("level", what, level)) from None
        reach = jax.scipy.special.ndtri(
            0.5 + 0.5 * jnp.asarray(level, jnp.result_type(jnp.asarray(self.mean)))
        ) * jnp.sqrt(self.total_var)
        return self.mean - reach, self.mean + reach

    def monte_carlo_error(self) -> Array:
        """Standard error that the draws leave in the log predictive density.

        It needs no targets: its square is the mean square error over targets that follow the prediction itself. With S
        draws, and biased variances as in this result,

        classification: sum_c probs_var_c / probs_c / (S - 1)
        regression: (prod_d (1 + epistemic_var_d / aleatoric_var_d) - 1) / (S - 1)

        The first is the delta method; the second is the delta method for Gaussian noise and Gaussian means that are
        independent over the targets. `log_density_with_error` computes the error for given targets, even if the
        prediction almost excludes them. The draws are taken to be independent; for antithetic draws, the error may be
        sqrt(2) times as large.

        Returns:
            root mean square error in nats, [batch]; 0 without draws.
        Raises:
            ValueError: the number of draws is unknown or 1, or a regression has no noise variance or is not Gaussian.

        >>> metadata = {"n_samples": 101}
        >>> result = UQResult(jnp.zeros(1), jnp.full(1, 0.5), jnp.full(1, 0.5), metadata=metadata)
        >>> round(float(result.monte_carlo_error()[0]), 3)
        0.1
        """
        draws = self.metadata.get("n_samples")
        if draws is None or draws == 1:
            raise ValueError(expected("metadata['n_samples']", "to be 2 or more for a Monte Carlo error", f"{draws}"))
        square = self._spread()
        return jnp.sqrt(square / (draws - 1)) if draws else jnp.zeros_like(square)

    def draws_needed(self, error: float = 0.1) -> Array:
        """Estimate how many draws bring the Monte Carlo error down.

        Args:
            error: the largest acceptable root mean square of `monte_carlo_error` over the batch, in nats. At 0.1, the
                mean log predictive density is too low by about 0.1^2 / 2 = 0.005 nats.
        Returns:
            A whole number as a float, at least 2.
        Raises:
            ValueError: as `monte_carlo_error`.

        >>> result = UQResult(jnp.zeros(1), jnp.full(1, 0.5), jnp.full(1, 0.5), metadata={"n_samples": 26})
        >>> int(result.draws_needed(error=0.1))
        101
        """
        check_positive("error", error)
        square = jnp.mean(jnp.square(self.monte_carlo_error())) * (self.metadata["n_samples"] - 1)
        # A ratio of 100.00001 is 100 within rounding.
        return jnp.maximum(jnp.ceil(square / error**2 * (1 - 1e-5)) + 1, 2.0)

    def _spread(self) -> Array:
        """Compute the relative variance over draws of the targets' density, [batch]."""
        if self.probs is not None and self.probs_var is not None:
            return jnp.sum(_ratio(self.probs_var, self.probs), axis=-1)
        if self.mixture is not None or self.epistemic_var is None or self.aleatoric_var is None:
            message = "Expected a result of a classification or of Gaussian noise; got another result."
            raise ValueError(f"{message} Use log_density_with_error, which takes targets.")
        logs = jnp.log1p(_ratio(self.epistemic_var, self.aleatoric_var))
        return jnp.expm1(jnp.sum(logs.reshape(logs.shape[0], -1), axis=1))


def _ratio(part: Array, whole: Array) -> Array:
    return jnp.where(part > 0, part / jnp.where(part > 0, whole, 1.0), 0.0)


_ARRAY_FIELDS = tuple(f.name for f in fields(UQResult) if f.name != "metadata")


class ELBOTerms(NamedTuple):
    """The terms of an objective.

    Attributes:
        nll: -E log p(y|x,w), in nats per example, averaged over the batch and the draws; in `DocumentedELBO`, the mean
            of its criterion.
        kl: KL(q||p) in nats: the whole KL in `ELBO`, KL / num_batches in `DocumentedELBO`.
        state: carried state after the call (such as BatchNorm statistics in training), or None.
        loss: the value of the objective, so that a training step can log it.
        kl_weight: the weight of the KL in the loss, at this step; None if the objective does not define it.
        elbo: -(nll + KL / num_data) in nats per example, whatever the weight; None if the objective does not define it.
    """

    nll: Array
    kl: Array
    state: Any = None
    loss: Array | None = None
    kl_weight: Array | None = None
    elbo: Array | None = None


@runtime_checkable
class BayesianModel(Protocol):
    """A pytree with weights that follow a posterior distribution.

    ``model(x, key=k)`` evaluates a draw of the weights, ``model(x)`` evaluates the posterior means, and ``model.kl()``
    returns KL(q||p) in nats.
    """

    def __call__(self, x: Any, *, key: Array | None = None) -> Array: ...

    def kl(self, key: Array | None = None) -> Array: ...
