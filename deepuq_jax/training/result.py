"""The result of `fit`, and an error that carries such a result."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from deepuq_jax.training.state import TrainState


class FitResult(NamedTuple):
    """Result of `fit`.

    Attributes:
        model: the trained model; with early stopping, the model of the best epoch.
        history: arrays [epochs] by name, averaged over the examples of each epoch: `loss`, the value of the objective,
            `nll` and `kl`; if the objective defines them, `kl_weight` and `elbo` = -(nll + KL / num_data) in nats per
            example, whose value does not depend on the weight; and, with validation data, `val_nll`, their negative log
            predictive density after the epoch, in nats per example.
        state: the `TrainState` after the last step.
    """

    model: Any
    history: dict[str, np.ndarray]
    state: TrainState


class NonFiniteError(FloatingPointError):
    """A loss or an update is not finite.

    Attributes:
        step: the first such step, counted from 0. It was not applied.
        result: a `FitResult` with the last good model and the history so far.
    """

    def __init__(self, step: int, result: FitResult):
        advice = "Its attribute `result` has the last good model. A lower learning rate often helps."
        super().__init__(f"Expected a finite loss and update; got NaN or infinity at step {step}. {advice}")
        self.step = step
        self.result = result
