"""The bound that bfloat16 is held to is narrow enough to find a fault."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from parity_tests import harness, models
from parity_tests.cases import low_precision
from parity_tests.harness import LOW, Case

_WITH_GRADIENTS = [case for case in low_precision.CASES[:4] if case.wrt]


def _shares(case: Case) -> dict[str, float]:
    found = harness.run(case, LOW)
    return {kind: error.share for kind, error in harness.errors(case, LOW, found["jax"], found["torch"]).items()}


@pytest.mark.parametrize("case", _WITH_GRADIENTS, ids=lambda case: case.name)
def test_noise_a_tenth_too_small_shows(monkeypatch, case: Case):
    right = models.jax_noise
    monkeypatch.setattr(models, "jax_noise", lambda spec, i: jax.tree.map(lambda leaf: 0.9 * leaf, right(spec, i)))
    assert _shares(dataclasses.replace(case, name="less noise", reference=None))["gradient"] > 1.0


def test_outputs_of_another_precision_are_refused():
    with pytest.raises(TypeError, match="bfloat16"):
        low_precision._widened(jnp.zeros(2))


def test_inputs_are_bfloat16_numbers():
    arrays = harness.cast({"x": jnp.linspace(0.1, 0.9, 7).__array__(), "y": jnp.arange(3).__array__()}, LOW)
    assert arrays["x"].dtype == "float32"
    assert (arrays["x"] == arrays["x"].astype(jnp.bfloat16)).all()
    assert arrays["y"].dtype.kind == "i"
