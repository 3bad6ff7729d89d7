"""Check that a contestant computes the same as the others.

The verdict stands in the contestant's row.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from benchmarks.speed import reference
from benchmarks.speed.contestant import FLOOR, Contestant
from benchmarks.speed.workloads import Predict, Train

OK = "ok"
STANDARD_ERRORS = 5.0
# The loss is checked for a fall from LEAST_STEPS on. If it has not fallen by MOST_STEPS, the row is BAD. On a wide
# network, the loss at a single draw varies by more than it falls in forty steps.
LEAST_STEPS, MOST_STEPS = 40, 400
FALL_STANDARD_ERRORS = 2.0


def numbers(losses: Any) -> list[float]:
    """Convert the losses of either framework, an array or a list of scalars, to floats."""
    if not len(losses):
        return []
    return np.concatenate([np.atleast_1d(_number(loss)) for loss in losses]).tolist()


def _number(loss: Any) -> np.ndarray:
    return np.asarray(loss.detach().float().cpu() if hasattr(loss, "detach") else loss, np.float64)


def training(contestant: Contestant, work: Train, losses: list[float]) -> str:
    """Return `OK`, or the fault of the losses, which are those of all steps since the common start."""
    if not all(map(math.isfinite, losses)):
        return "BAD: a loss is not finite"
    if contestant.package != FLOOR:
        expected = reference.first_loss(work.network, work.batch)[contestant.kl]
        z = abs(losses[0] - float(expected.mean)) / math.sqrt(float(expected.var) * (1 + 1 / expected.draws))
        if z > STANDARD_ERRORS:
            return f"BAD: first loss {losses[0]:.4g}, {z:.1f} standard errors from {float(expected.mean):.4g}"
    if falls(losses):
        return OK
    first, last = (np.mean(part) for part in _ends(losses))
    return f"BAD: the loss did not fall in {len(losses)} steps, {first:.4g} to {last:.4g}"


def falls(losses: list[float]) -> bool:
    """Whether the mean of the last third of the losses is below that of the first third.

    The difference must exceed `FALL_STANDARD_ERRORS` standard errors, estimated from the spread within the thirds.
    """
    if len(losses) < LEAST_STEPS:
        return False
    first, last = _ends(losses)
    error = math.sqrt((np.var(first) + np.var(last)) / len(first))
    return bool(np.mean(first) - np.mean(last) > FALL_STANDARD_ERRORS * error)


def is_settled(losses: list[float]) -> bool:
    """Whether further steps cannot change the verdict."""
    return falls(losses) or len(losses) >= MOST_STEPS or not all(map(math.isfinite, losses))


def _ends(losses: list[float]) -> tuple[list[float], list[float]]:
    third = len(losses) // 3
    return losses[:third], losses[-third:]


def prediction(contestant: Contestant, work: Predict, predictions: list[tuple[Any, Any]]) -> str:
    """Return `OK`, or how far the predictions are off.

    Pooled over the predictions, the mean and the variance (summed over outputs) are compared with the reference.
    """
    means, variances = (np.stack([_checked(p[i]) for p in predictions]) for i in range(2))
    if contestant.package == FLOOR:
        return OK if np.isfinite(means).all() else "BAD: a prediction is not finite"
    exact = reference.prediction(work.network, work.inputs)
    draws = work.draws * len(predictions)

    def error(var: np.ndarray) -> np.ndarray:
        return np.sqrt(var * (1 / draws + 1 / exact.draws)) + 1e-7

    # The documented variance of n draws divides by n, so its expectation, also as a mean over calls, is (n - 1) / n of
    # the true variance.
    biased = (work.draws - 1) / work.draws
    spread = biased * (exact.draws / (exact.draws - 1) * exact.spread)
    for name, found, true, tolerance in (
        ("mean", means.mean(axis=0), exact.mean, error(exact.var)),
        ("variance", variances.mean(axis=0).sum(axis=-1), spread, error(exact.spread_var)),
    ):
        z = np.max(np.abs(found - true) / tolerance)
        if not z <= STANDARD_ERRORS:
            return f"BAD: {name} {z:.1f} standard errors from the reference"
    return OK


def _checked(values: Any) -> np.ndarray:
    array = values.detach().float().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)
    return array[: reference.CHECKED_INPUTS].astype(np.float64)
