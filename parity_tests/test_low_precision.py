"""The bounds on bfloat16 errors are narrow enough to find faults."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from parity_tests import harness, models, rounding
from parity_tests.cases import low_precision
from parity_tests.harness import LOW, Case

# Together, these tests take too long for `make check`.
pytestmark = pytest.mark.slow

_WITH_GRADIENTS = [case for case in low_precision.CASES[:4] if case.wrt]
_PREDICTIONS = [case for case in low_precision.CASES if case.name.startswith("predict_vi_uq")]


def _shares(case: Case) -> dict[str, float]:
    found = harness.run(case, LOW)
    return {kind: error.share for kind, error in harness.errors(case, LOW, found["jax"], found["torch"]).items()}


@pytest.mark.parametrize("case", _WITH_GRADIENTS, ids=lambda case: case.name)
def test_noise_a_tenth_too_small_shows(monkeypatch, case: Case):
    right = models.jax_noise
    monkeypatch.setattr(models, "jax_noise", lambda spec, i: jax.tree.map(lambda leaf: 0.9 * leaf, right(spec, i)))
    assert _shares(dataclasses.replace(case, name="less noise", reference=None))["gradient"] > 1.0


@pytest.mark.parametrize("case", _PREDICTIONS, ids=lambda case: case.name)
def test_a_variance_of_less_noise_shows(monkeypatch, case: Case):
    right = models.jax_noise
    monkeypatch.setattr(models, "jax_noise", lambda spec, i: jax.tree.map(lambda leaf: 0.5 * leaf, right(spec, i)))
    assert _shares(dataclasses.replace(case, name="less noise", reference=None))["value"] > 1.0


def test_bounds_of_moments_hold_for_errors_of_either_sign():
    rng = np.random.default_rng(0)
    values, errors = rng.normal(size=(5, 200)), rng.uniform(0.0, 0.1, size=(5, 200))
    mean_error, var_error = rounding.moments(values, errors)
    for _ in range(20):
        moved = values + errors * rng.choice([-1.0, 1.0], size=errors.shape)
        assert (np.abs(moved.mean(axis=0) - values.mean(axis=0)) <= mean_error).all()
        assert (np.abs(moved.var(axis=0) - values.var(axis=0)) <= var_error).all()


def test_outputs_of_another_precision_are_refused():
    with pytest.raises(TypeError, match="bfloat16"):
        low_precision._widened(jnp.zeros(2))


def test_inputs_are_bfloat16_numbers():
    arrays = harness.cast({"x": jnp.linspace(0.1, 0.9, 7).__array__(), "y": jnp.arange(3).__array__()}, LOW)
    assert arrays["x"].dtype == "float32"
    assert (arrays["x"] == arrays["x"].astype(jnp.bfloat16)).all()
    assert arrays["y"].dtype.kind == "i"
