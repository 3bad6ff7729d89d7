"""The documented objective of Deep-UQ.

Its KL is scaled by the number of batches.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
from jax import Array
from jax.core import Tracer

from deepuq_jax._checks import check_batch, check_count, check_finite_number, check_flag, expected
from deepuq_jax._pytree import register
from deepuq_jax.likelihoods.base import Likelihood
from deepuq_jax.model.own import check_model
from deepuq_jax.objectives.elbo import checked_weight
from deepuq_jax.objectives.expectation import expected_terms
from deepuq_jax.objectives.objective import Units, VariationalObjective, value_at
from deepuq_jax.objectives.targets import Score, documented_likelihood
from deepuq_jax.types import ELBOTerms


@register(static=("criterion", "mc_samples", "antithetic"))
@dataclass(frozen=True)
class DocumentedELBO(VariationalObjective):
    """The documented objective of Deep-UQ, kept for parity.

    loss = nll + kl_weight * KL / num_batches

    If `criterion` is the mean negative log-likelihood of the batch, the weight of the KL is too large by a factor of
    the batch size B. The exact ELBO per example has KL / num_data = KL / (B * num_batches), which `kl_weight = 1/B`
    restores here. `ELBO` has the exact units by itself.

    Args:
        num_batches: optimizer steps per epoch, N / B; an int or a traced number.
        kl_weight: factor of the scaled KL, a number or a schedule, as in `ELBO`.
        criterion: (outputs, y) -> scalar, averaged over the batch. The default is mean cross-entropy in classification,
            mean squared error for a regressor with unspecified noise, and the mean negative log-likelihood in nats for
            any other `likelihood` of the model, such as `Gaussian(sigma)`. A model that predicts its noise is always
            scored by 1/2 ((y - m)^2 / v + log v) with variance v, as in Deep-UQ.
        mc_samples, antithetic: as in `ELBO`.
    Raises:
        ValueError, TypeError: a count or a number is invalid. A call raises the same errors as a call of `ELBO`.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> import deepuq_jax as dq
    >>> model = dq.BayesByBackpropMLP(2, (), 3, rngs=nnx.Rngs(0))
    >>> x, y = jnp.ones((8, 2)), jnp.zeros(8, int)
    >>> loss, terms = DocumentedELBO(num_batches=4)(model, x, y, key=jax.random.key(0))
    >>> bool(jnp.isclose(terms.kl, model.kl() / 4))
    True
    """

    measures: ClassVar[tuple[str, ...]] = (*VariationalObjective.measures, "kl_weight")

    num_batches: Any
    kl_weight: Any = 1.0
    _: KW_ONLY
    criterion: Callable[..., Any] | None = None
    mc_samples: int = 1
    antithetic: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.num_batches, Tracer):
            object.__setattr__(self, "num_batches", check_count("num_batches", self.num_batches))
        if self.criterion is not None and not callable(self.criterion):
            raise TypeError(expected("criterion", "to be a callable (outputs, y) -> scalar", self.criterion))
        object.__setattr__(self, "kl_weight", checked_weight("kl_weight", self.kl_weight))
        object.__setattr__(self, "mc_samples", check_count("mc_samples", self.mc_samples))
        object.__setattr__(self, "antithetic", check_flag("antithetic", self.antithetic))

    def __call__(
        self, model: Any, x: Any, y: Any, *, key: Array | None = None, noise: Any = None, step: Any = None
    ) -> tuple[Array, ELBOTerms]:
        """Compute the loss and its terms.

        The terms are `nll` in units of the criterion, and `kl` = KL / num_batches. The arguments are the same as in
        `ELBO`.
        """
        check_model(model)
        check_batch(x, y)
        score = self.score_for(model)
        nll, kl, state = expected_terms(
            model, x, y, score, key=key, noise=noise, mc_samples=self.mc_samples, antithetic=self.antithetic
        )
        kl = kl / self.num_batches
        weight = value_at("kl_weight", self.kl_weight, step)
        loss = nll + weight * kl
        return loss, ELBOTerms(nll, kl, state, loss, kl_weight=jnp.asarray(weight, loss.dtype))

    def units(self, step: Any) -> Units:
        """Refuse to name units: the loss is not per example."""
        del step
        raise ValueError(expected("objective", "to be an ELBO, whose units natural gradients need", "DocumentedELBO"))

    def likelihood_for(self, model: Any) -> Likelihood:
        """Return the model's likelihood, or `Categorical()`."""
        return documented_likelihood(model)

    def score_for(self, model: Any) -> Score:
        """Return the criterion for a model.

        A likelihood that predicts noise comes first, as in Deep-UQ, then the caller's criterion, then the criterion of
        the likelihood.
        """
        likelihood = self.likelihood_for(model)
        if self.criterion is None or likelihood.predicts_noise:
            return likelihood.criterion
        return self.criterion


def vi_elbo_step(
    model: Any,
    x: Any,
    y: Any,
    num_batches: Any = None,
    n_batches: Any = None,
    criterion: Callable[..., Any] | None = None,
    kl_weight: Any = 1.0,
    mc_samples: int = 1,
    *,
    key: Array | None = None,
    antithetic: bool = False,
    noise: Any = None,
) -> tuple[Array, ELBOTerms]:
    """`DocumentedELBO` as a function, with the arguments of Deep-UQ.

    loss = nll + kl_weight * KL / num_batches

    Args:
        model, x, y, key, noise: as in a call of `ELBO`.
        num_batches, criterion, mc_samples, antithetic: the fields of `DocumentedELBO`.
        kl_weight: the field of `DocumentedELBO`, but a number only.
        n_batches: deprecated alias of `num_batches`.
    Returns:
        (loss, ELBOTerms), with terms.kl = KL / num_batches, as in Deep-UQ.
    Raises:
        ValueError: no batch count is given, the two counts differ, or a count is not a positive int.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> import deepuq_jax as dq
    >>> model = dq.BayesByBackpropMLP(2, (), 3, rngs=nnx.Rngs(0))
    >>> x, y = jnp.ones((8, 2)), jnp.zeros(8, int)
    >>> loss, terms = vi_elbo_step(model, x, y, num_batches=4, key=jax.random.key(0))
    >>> bool(jnp.isclose(terms.kl, model.kl() / 4))
    True
    """
    num_batches = _resolve_num_batches(num_batches, n_batches)
    check_finite_number("kl_weight", kl_weight)
    objective = DocumentedELBO(
        num_batches, kl_weight, criterion=criterion, mc_samples=mc_samples, antithetic=antithetic
    )
    return objective(model, x, y, key=key, noise=noise)


def _resolve_num_batches(num_batches: Any, n_batches: Any) -> Any:
    if num_batches is None and n_batches is None:
        raise ValueError("Expected num_batches to be a positive int; got None.")
    counts = [count for count in (num_batches, n_batches) if count is not None]
    for name, count in (("num_batches", num_batches), ("n_batches", n_batches)):
        if count is not None and not isinstance(count, Tracer):
            check_count(name, count)
    if num_batches is None:
        warnings.warn("n_batches is deprecated: use num_batches.", DeprecationWarning, stacklevel=3)
    elif len(counts) == 2 and num_batches is not n_batches and num_batches != n_batches:
        raise ValueError(f"Expected num_batches and n_batches to be equal; got {num_batches} and {n_batches}.")
    return counts[0]
