"""Every case in every precision.

The packages are compared with each other, with 60 digits, and with the original package if it is installed.
"""

from __future__ import annotations

import pytest

from parity_tests import cases, harness, original
from parity_tests.harness import Case

# Together, these tests take too long for `make check`.
pytestmark = pytest.mark.slow

_PAIRS = [("jax", "torch"), ("jax", "reference"), ("torch", "reference")]


def _small_profile() -> set[tuple[str, str]]:
    """Choose the runs of objectives that `make test` keeps.

    There are cases of each objective with one draw and with five, and each case compiles a program for every precision.
    `make test-all` runs all of them. The small profile runs every objective once: alternately with one draw in float64
    and with five draws in float32.
    """
    objectives = [case.name.removesuffix(" mc_samples=1") for case in cases.ALL if case.name.endswith(" mc_samples=1")]
    turns = [(1, "float64"), (5, "float32")]
    return {(f"{name} mc_samples={turns[i % 2][0]}", turns[i % 2][1]) for i, name in enumerate(objectives)}


_KEPT = _small_profile()


def _marks(case: Case, dtype: str):
    is_an_objective = case.name.endswith((" mc_samples=1", " mc_samples=5"))
    return pytest.mark.long if is_an_objective and (case.name, dtype) not in _KEPT else ()


_each = pytest.mark.parametrize(
    ("case", "dtype"),
    [
        pytest.param(case, dtype, id=f"{dtype}-{case.name}", marks=_marks(case, dtype))
        for case in cases.ALL
        for dtype in case.dtypes
    ],
)


@_each
def test_case(case: Case, dtype: str):
    found = harness.run(case, dtype)
    for one, other in _PAIRS:
        if other not in found:
            continue
        for kind, error in harness.errors(case, dtype, found[one], found[other]).items():
            assert error.share <= 1.0, f"{case.name} {dtype}: {kind} of {one} against {other}: {error}"


@_each
def test_original(case: Case, dtype: str):
    found = original.run(case, dtype)
    if found is None:
        pytest.skip("deepuq is not installed, or does not have this function")
    measured = harness.errors(case, dtype, found, harness.run(case, dtype)["torch"])
    share = harness.worst(list(measured.values())).share
    if case.fault:
        assert share > 1.0, f"{case.name} {dtype}: the original agrees, so fault {case.fault} is not one"
    else:
        assert share <= 1.0, f"{case.name} {dtype}: {measured}"


def test_names_are_unique():
    names = [case.name for case in cases.ALL]
    assert len(names) == len(set(names))
