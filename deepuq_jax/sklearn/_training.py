"""The training of an estimator's network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import optax
from flax import nnx
from jax import Array

from deepuq_jax._checks import check_count, check_flag, check_optimizer, expected
from deepuq_jax.likelihoods import Weighted
from deepuq_jax.objectives import ELBO
from deepuq_jax.sklearn._optimizer import adam_of_rate
from deepuq_jax.sklearn._rows import WeightedRows
from deepuq_jax.training.fit import fit
from deepuq_jax.training.length import training_length


class Trained(NamedTuple):
    """Result of `Training.run`.

    Attributes:
        network: the trained network, with the likelihood of plain targets.
        losses: the loss of each epoch, in nats per row.
    """

    network: Any
    losses: list[float]


@dataclass(frozen=True)
class Training:
    """The settings of a training.

    Attributes:
        max_iter, batch_size, learning_rate_init, optimizer, patience, verbose: parameters of the estimator; `patience`
            is `n_iter_no_change` with early stopping, and None without.
    """

    max_iter: int | None
    batch_size: int | None
    learning_rate_init: float | None
    optimizer: Any
    patience: int | None
    verbose: bool

    def __post_init__(self):
        for name in ("max_iter", "batch_size"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        if self.patience is not None:
            check_count("n_iter_no_change", self.patience)
        check_flag("verbose", self.verbose)
        if self.optimizer is None:
            return
        check_optimizer("optimizer", self.optimizer)
        if self.learning_rate_init is not None:
            raise ValueError(expected("learning_rate_init", "to be None with optimizer", self.learning_rate_init))

    def run(
        self, network: Any, rows: WeightedRows, held_out: WeightedRows | None, *, key: Array, goes_on: bool
    ) -> Trained:
        """Train a network without changing its arrays.

        Args:
            network: a model that computes in standard units, with the likelihood of plain targets.
            rows: the training data.
            held_out: data for early stopping, or None.
            key: a key of `jax.random.key`.
            goes_on: whether the network is already trained. The KL weight is then 1 throughout.
        """
        likelihood = network.likelihood
        network.likelihood = nnx.static(Weighted(likelihood))
        data = rows.padded().in_float()
        scored = None if held_out is None else _pair(held_out.padded().in_float())
        result = fit(
            network,
            *_pair(data),
            key=key,
            objective=ELBO() if goes_on else None,
            optimizer=self._optimizer(len(data.x)),
            epochs=self.max_iter,
            batch_size=self.batch_size,
            validation_data=scored,
            patience=self.patience,
            progress=self.verbose,
        )
        result.model.likelihood = nnx.static(likelihood)
        # The padding counts as rows in `fit`.
        losses = result.history["loss"] * (len(data.x) / len(rows.x))
        return Trained(result.model, np.asarray(losses, np.float64).tolist())

    def _optimizer(self, num_data: int) -> optax.GradientTransformation | None:
        if self.learning_rate_init is None:
            return self.optimizer
        length = training_length(num_data, epochs=self.max_iter, batch_size=self.batch_size)
        return adam_of_rate(self.learning_rate_init, length.steps)


def _pair(rows: WeightedRows) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Return inputs and weighted targets."""
    return rows.x, (rows.y, rows.weight)
