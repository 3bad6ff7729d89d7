"""Single layers of random sizes: values, KL and all gradients.

The inputs have any number of leading axes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity_tests import harness, models
from parity_tests.harness import Case
from parity_tests.models import Spec

_SIZE = st.integers(1, 9)
_EXAMPLES = settings(
    deadline=None, max_examples=4, derandomize=True
)  # few, because each new shape compiles a new program


def _check(case: Case, dtype: str) -> None:
    found = harness.run(case, dtype)
    for kind, error in harness.errors(case, dtype, found["jax"], found["torch"]).items():
        assert error.share <= 1.0, f"{case.name} {dtype}: {kind}: {error}"


def _inputs(spec: Spec, seed: int, leading: tuple[int, ...]) -> harness.Arrays:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(*leading, spec.inputs))
    return {**models.draw_weights(spec, rng), **models.draw_noise(spec, rng), "x": x}


@pytest.mark.slow
@_EXAMPLES
@given(
    _SIZE,
    _SIZE,
    st.lists(st.integers(1, 4), max_size=3).map(tuple),
    st.integers(0, 99),
    st.sampled_from(harness.DTYPES),
)
def test_a_layer(fan_in: int, fan_out: int, leading: tuple[int, ...], seed: int, dtype: str):
    spec = Spec(fan_in, (), fan_out)

    def jax_side(i: dict[str, Any]) -> dict[str, Any]:
        layer = models.jax_model(spec, i).layers[0]
        return {"value": layer(i["x"], noise=models.jax_noise(spec, i)[0]), "means": layer(i["x"]), "kl": layer.kl()}

    def torch_side(i: dict[str, Any]) -> dict[str, Any]:
        layer, noise = models.torch_model(spec, i).layers[0], models.torch_noise(spec, i)[0]
        return {"value": layer(i["x"], noise=noise), "means": layer(i["x"], sample=False), "kl": layer.kl()}

    wrt = (*spec.weight_names, "x")
    _check(Case("a random layer", lambda dtype: _inputs(spec, seed, leading), jax_side, torch_side, wrt=wrt), dtype)
