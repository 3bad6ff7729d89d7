"""Whether a contestant computed the same thing as the others: what its row shows beside its times."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from benchmarks.speed import reference
from benchmarks.speed.contestant import FLOOR, Contestant
from benchmarks.speed.workloads import Predict, Train

OK = "ok"
STANDARD_ERRORS = 5.0
# From the first number of steps on the loss may show that it falls; after the second it has not. The loss of one draw
# on a wide network varies by more than it falls in forty steps.
LEAST_STEPS, MOST_STEPS = 40, 400
FALL_STANDARD_ERRORS = 2.0


def numbers(losses: Any) -> list[float]:
    """Losses of either framework, one array or a list of scalars, as floats."""
    one = lambda loss: np.asarray(loss.detach().float().cpu() if hasattr(loss, "detach") else loss, np.float64)
    return np.concatenate([np.atleast_1d(one(loss)) for loss in losses]).tolist() if len(losses) else []


def training(contestant: Contestant, work: Train, losses: list[float]) -> str:
    """`OK`, or what is wrong with the losses of all steps since the common start."""
    if not all(map(math.isfinite, losses)):
        return "BAD: a loss that is not finite"
    if contestant.package != FLOOR:
        one_draw = reference.first_loss(work.network, work.batch)[contestant.kl]
        z = abs(losses[0] - float(one_draw.mean)) / math.sqrt(float(one_draw.var) * (1 + 1 / one_draw.draws))
        if z > STANDARD_ERRORS:
            return f"BAD: first loss {losses[0]:.4g}, {z:.1f} standard errors from {float(one_draw.mean):.4g}"
    if falls(losses):
        return OK
    first, last = (np.mean(part) for part in _ends(losses))
    return f"BAD: the loss did not fall in {len(losses)} steps, {first:.4g} to {last:.4g}"


def falls(losses: list[float]) -> bool:
    """Whether the mean of the last third is below that of the first by more than the spread within them explains."""
    if len(losses) < LEAST_STEPS:
        return False
    first, last = _ends(losses)
    error = math.sqrt((np.var(first) + np.var(last)) / len(first))
    return bool(np.mean(first) - np.mean(last) > FALL_STANDARD_ERRORS * error)


def is_settled(losses: list[float]) -> bool:
    """Whether more steps would not change the verdict."""
    return falls(losses) or len(losses) >= MOST_STEPS or not all(map(math.isfinite, losses))


def _ends(losses: list[float]) -> tuple[list[float], list[float]]:
    third = len(losses) // 3
    return losses[:third], losses[-third:]


def prediction(contestant: Contestant, work: Predict, predictions: list[tuple[Any, Any]]) -> str:
    """`OK`, or how far the mean, or the variance summed over outputs, pooled over predictions, is off."""
    means, variances = (np.stack([_checked(p[i]) for p in predictions]) for i in range(2))
    if contestant.package == FLOOR:
        return OK if np.isfinite(means).all() else "BAD: a prediction that is not finite"
    exact = reference.prediction(work.network, work.inputs)
    draws = work.draws * len(predictions)
    noise = lambda var: np.sqrt(var * (1 / draws + 1 / exact.draws)) + 1e-7
    # Divided by n as documented, the variance of n draws is (n - 1) / n of the true one; over calls it averages.
    biased = (work.draws - 1) / work.draws
    unbiased = lambda m: exact.draws / (exact.draws - 1) * m
    for what, found, true, error in (
        ("mean", means.mean(axis=0), exact.mean, noise(exact.var)),
        ("variance", variances.mean(axis=0).sum(axis=-1), biased * unbiased(exact.spread), noise(exact.spread_var)),
    ):
        z = np.max(np.abs(found - true) / error)
        if not z <= STANDARD_ERRORS:
            return f"BAD: {what} {z:.1f} standard errors from the reference"
    return OK


def _checked(values: Any) -> np.ndarray:
    array = values.detach().float().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)
    return array[: reference.CHECKED_INPUTS].astype(np.float64)
