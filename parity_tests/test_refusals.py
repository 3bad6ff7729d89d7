"""Both packages raise the same errors and warnings."""

from __future__ import annotations

import re
import warnings

import pytest

from parity_tests import refusals, type_refusals
from parity_tests.refusals import Refusal

_ALL = [*refusals.REFUSALS, *type_refusals.REFUSALS]
_WORDING = re.compile(r"^Expected .+; got .+\.$", re.DOTALL)


@pytest.mark.parametrize("side", ["jax", "torch"])
@pytest.mark.parametrize("refusal", _ALL, ids=lambda refusal: refusal.name)
def test_refused(refusal: Refusal, side: str):
    call = refusal.jax_call if side == "jax" else refusal.torch_call
    with pytest.raises(refusal.error) as caught:
        call()
    assert _WORDING.match(str(caught.value)), caught.value


@pytest.mark.parametrize("step", [refusals.jax_step, refusals.torch_step], ids=["jax", "torch"])
def test_the_old_name_of_the_count_warns(step):
    with pytest.warns(DeprecationWarning, match="n_batches"):
        step(num_batches=None, n_batches=3)


@pytest.mark.parametrize("step", [refusals.jax_step, refusals.torch_step], ids=["jax", "torch"])
@pytest.mark.parametrize("bad", [0, -1, 1.0, 1.5, True, False, "3", float("nan")])
def test_a_bad_count_by_the_old_name(step, bad):
    with pytest.raises(ValueError, match="n_batches"):
        _without_warning(step, bad)


def _without_warning(step, count) -> None:
    """Call a step, and ignore its warning.

    Each package may warn before or after it checks the count.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        step(num_batches=None, n_batches=count)


@pytest.mark.parametrize("step", [refusals.jax_step, refusals.torch_step], ids=["jax", "torch"])
def test_equal_counts_under_both_names_pass(step):
    step(num_batches=3, n_batches=3)
