"""Training on the same noise ends at the same parameters."""

from __future__ import annotations

import numpy as np
import pytest

from parity_tests import trajectories
from parity_tests.harness import DTYPES
from parity_tests.trajectories import RUNS, Run

_every_run = pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)


@_every_run
@pytest.mark.parametrize("dtype", DTYPES)
def test_parameters_agree(run: Run, dtype: str):
    found = trajectories.error(run, dtype)
    assert found.share <= 1.0, f"{run.name} {dtype}: {found}"


@_every_run
def test_something_was_learned(run: Run):
    losses = trajectories.both(run, "float64")[0]["loss"]
    assert np.mean(losses[-20:]) < 0.9 * np.mean(losses[:20])
