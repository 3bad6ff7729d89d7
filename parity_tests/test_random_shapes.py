"""Networks of random shapes: outputs, KL and all gradients."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity_tests import harness
from parity_tests.cases.objectives import forward_case, kl_case
from parity_tests.models import ACTIVATIONS, Spec

_SIZE = st.integers(1, 9)
_SPECS = st.builds(
    Spec,
    inputs=_SIZE,
    hidden=st.lists(_SIZE, max_size=3).map(tuple),
    outputs=_SIZE,
    activation=st.sampled_from(ACTIVATIONS),
    prior_mu=st.floats(-2.0, 2.0),
    prior_sigma=st.floats(0.01, 10.0),
)


def _check(case: harness.Case, dtype: str) -> None:
    found = harness.run(case, dtype)
    for kind, error in harness.errors(case, dtype, found["jax"], found["torch"]).items():
        assert error.share <= 1.0, f"{case.name} {dtype}: {kind}: {error}"


# Few examples and no deadline, because each new shape compiles a new program.
@pytest.mark.slow
@settings(deadline=None, max_examples=6, derandomize=True)
@given(_SPECS, st.integers(0, 2**16), st.sampled_from(harness.DTYPES))
def test_forward(spec: Spec, seed: int, dtype: str):
    _check(forward_case("a random network", spec, seed, with_reference=False), dtype)


@pytest.mark.slow
@settings(deadline=None, max_examples=6, derandomize=True)
@given(_SPECS, st.integers(0, 2**16), st.sampled_from(harness.DTYPES))
def test_kl(spec: Spec, seed: int, dtype: str):
    _check(kl_case("a random network's KL", spec, seed, with_reference=False), dtype)
