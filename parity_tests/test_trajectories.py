"""Training on the same noise ends at the same parameters."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import deepuq_jax as dj
import deepuq_torch as dt
from deepuq_jax.training import _natural
from parity_tests import trajectories
from parity_tests.harness import DTYPES
from parity_tests.trajectories import RUNS, Run

# The precision in which `make test` runs a task with an optimizer; `make test-all` runs both precisions. In
# `make test`, each optimizer runs in both precisions, and so does each task but learned noise.
_PRECISION = {run: DTYPES[(run.task == "regression") == (run.optimizer == "adam")] for run in RUNS}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "dtype"),
    [
        pytest.param(run, dtype, id=f"{dtype}-{run.name}", marks=() if dtype == _PRECISION[run] else pytest.mark.long)
        for run in RUNS
        for dtype in DTYPES
    ],
)
def test_parameters_agree(run: Run, dtype: str):
    found = trajectories.error(run, dtype)
    assert found.share <= 1.0, f"{run.name} {dtype}: {found}"


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_something_was_learned(run: Run):
    losses = trajectories.both(run, _PRECISION[run])[0]["loss"]
    assert np.mean(losses[-20:]) < 0.9 * np.mean(losses[:20])


def test_the_defaults_of_natural_gradients_agree():
    one, other = (inspect.signature(make).parameters for make in (dj.natural_gradient, dt.NaturalGradient))
    for name in ("beta1", "mean_limit", "precision_limit"):
        assert one[name].default == other[name].default, name
    assert (other["lr"].default, other["beta2"].default) == (_natural.LEARNING_RATE, _natural.BETA2)
