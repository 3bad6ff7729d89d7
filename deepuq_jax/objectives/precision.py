"""Objectives in mixed precision."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from jax import Array

from deepuq_jax._pytree import register
from deepuq_jax.likelihoods.base import Likelihood
from deepuq_jax.model.precision import in_compute_dtype
from deepuq_jax.objectives.objective import Units, VariationalObjective
from deepuq_jax.objectives.targets import Score
from deepuq_jax.types import ELBOTerms


@register(static=("compute_dtype", "measures"))
@dataclass(frozen=True)
class InComputeDtype(VariationalObjective):
    """An objective of a model that computes in another dtype.

    Only the calls of the model are in this dtype. Its outputs are converted to float32 before the likelihood, and
    parameters, KL, loss and gradients are in the dtype of the posteriors.

    Args:
        objective: the objective.
        compute_dtype: the dtype from `checked_compute_dtype`.
        measures: the `measures` of the objective.
    """

    objective: VariationalObjective
    compute_dtype: Any
    measures: tuple[str, ...]

    def __call__(
        self, model: Any, x: Any, y: Any, *, key: Array | None = None, noise: Any = None, step: Any = None
    ) -> tuple[Array, ELBOTerms]:
        """Compute the loss, a scalar, and its terms."""
        return self.objective(in_compute_dtype(model, self.compute_dtype), x, y, key=key, noise=noise, step=step)

    def for_data(self, num_data: int) -> Self:
        """Fill in the number of examples of the objective."""
        return replace(self, objective=self.objective.for_data(num_data))

    def check_size(self, num_data: int) -> None:
        """Refuse data that cannot be the data of the objective."""
        self.objective.check_size(num_data)

    def units(self, step: Any) -> Units | None:
        """Return the units of the objective."""
        return self.objective.units(step)

    def score_for(self, model: Any) -> Score | None:
        """Return the score of the objective."""
        return self.objective.score_for(model)

    def likelihood_for(self, model: Any) -> Likelihood | None:
        """Return the likelihood of the objective."""
        return self.objective.likelihood_for(model)


def in_precision(objective: VariationalObjective, compute_dtype: Any) -> VariationalObjective:
    """Return an objective in a compute dtype; with None, the objective as it is."""
    if compute_dtype is None:
        return objective
    return InComputeDtype(objective, compute_dtype, objective.measures)
