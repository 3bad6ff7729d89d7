"""The harness finds faults: a flipped sign, a wrong gradient, an extra quantity, a wrong dtype or shape."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from parity_tests import harness, models, trajectories
from parity_tests.cases.objectives import CASES as OBJECTIVES
from parity_tests.harness import Case
from parity_tests.trajectories import RUNS

_STEP = next(case for case in OBJECTIVES if case.name == "vi_elbo_step categorical mc_samples=5")


def _shares(case: Case, dtype: str = "float64", against: str = "torch") -> dict[str, float]:
    found = harness.run(case, dtype)
    return {kind: error.share for kind, error in harness.errors(case, dtype, found["jax"], found[against]).items()}


def _square(**how: Any) -> Case:
    def square(i):
        return i["x"] ** 2

    sides: dict[str, Any] = dict(jax_side=square, torch_side=square, reference=square)
    return Case("square", lambda dtype: {"x": np.linspace(0.5, 2.0, 5)}, **(sides | how), wrt=("x",))


def test_agreement_passes():
    for against in ("torch", "reference"):
        assert max(_shares(_square(), against=against).values()) <= 1.0


def test_a_wrong_value_and_a_wrong_gradient_are_told_apart():
    constant_off = _shares(_square(jax_side=lambda i: i["x"] ** 2 + 1e-8))
    assert constant_off["value"] > 1.0 >= constant_off["gradient"]
    cut = _shares(_square(jax_side=lambda i: jax.lax.stop_gradient(i["x"]) * i["x"]))
    assert cut["gradient"] > 1.0 >= cut["value"]


def test_an_error_that_both_packages_share_shows_against_the_reference():
    both = _square(jax_side=lambda i: i["x"] ** 2 + 1e-8, torch_side=lambda i: i["x"] ** 2 + 1e-8)
    assert _shares(both)["value"] <= 1.0 < _shares(both, against="reference")["value"]


def test_nan_is_no_agreement():
    nan = _square(jax_side=lambda i: i["x"] * jnp.nan, torch_side=lambda i: i["x"] * torch.nan, reference=None)
    assert _shares(nan)["value"] == np.inf


@pytest.mark.parametrize(
    "side",
    [lambda i: i["x"][:4] ** 2, lambda i: (i["x"] ** 2).astype("float32"), lambda i: {"value": i["x"], "more": i["x"]}],
    ids=["shape", "dtype", "a quantity too many"],
)
def test_results_of_another_form_are_refused(side):
    with pytest.raises(ValueError, match="Expected"):
        _shares(_square(jax_side=side))


def test_noise_with_a_flipped_sign_shows(monkeypatch):
    right = models.jax_noise
    monkeypatch.setattr(models, "jax_noise", lambda spec, i: jax.tree.map(lambda leaf: -leaf, right(spec, i)))
    shares = _shares(dataclasses.replace(_STEP, name="flipped", reference=None))
    assert min(shares.values()) > 1.0


@pytest.mark.slow
@pytest.mark.parametrize(("setting", "value"), [("b1", 0.89), ("b2", 0.9989), ("eps", 1e-5)])
def test_a_trajectory_with_another_setting_shows(monkeypatch, setting: str, value: float):
    other = trajectories.both(RUNS[0], "float32")[1]
    monkeypatch.setitem(trajectories._ADAM, setting, value)
    with harness.precisely("float32"):
        one = trajectories.train_jax(RUNS[0], "float32")
    shares = [harness.error_of(one[k], other[k], "float32", trajectories.TRAJECTORY).share for k in other]
    assert max(shares) > 1.0


@pytest.mark.slow
def test_another_momentum_shows(monkeypatch):
    run = next(run for run in RUNS if run.optimizer == "sgd")
    other = trajectories.both(run, "float32")[1]
    monkeypatch.setattr(trajectories, "_MOMENTUM", 0.89)
    with harness.precisely("float32"):
        one = trajectories.train_jax(run, "float32")
    shares = [harness.error_of(one[k], other[k], "float32", trajectories.TRAJECTORY).share for k in other]
    assert max(shares) > 1.0


def test_short_matmul_formats_are_off_inside_and_restored():
    matmul = torch.backends.cuda.matmul
    before = [getattr(matmul, name) for name in harness._SHORTCUTS]
    with harness.precisely("float32"):
        assert [getattr(matmul, name) for name in harness._SHORTCUTS] == [False, False]
    assert [getattr(matmul, name) for name in harness._SHORTCUTS] == before


def test_x64_is_restored():
    before = jax.config.read("jax_enable_x64")
    with harness.precisely("float64"):
        assert jnp.zeros(1).dtype == jnp.float64
    assert jax.config.read("jax_enable_x64") == before
