"""For every public name, hostile arguments give a right answer or a documented error."""

import os
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import deepuq_torch as dq
from deepuq_torch.tests.hostile.entries import ENTRIES, VALUES, failure

TOTAL = int(os.environ.get("DEEPUQ_EXAMPLES", "10000"))
NOT_CALLED = {"UQResult", "functional", "methods", "read_metadata"}  # read_metadata only takes a path
# Scripted modules read `sample`, and cannot raise errors of their own.
UNCHECKED = {("BayesByBackpropMLP.forward", "sample")}


def test_every_public_name_has_an_entry():
    named = {key.partition(".")[0] for key in ENTRIES}
    assert not set(dq.__all__) - named - NOT_CALLED
    assert not {f"functional.{name}" for name in dq.functional.__all__} - set(ENTRIES)


@pytest.mark.parametrize("name", ENTRIES)
def test_valid_arguments_are_taken(name):
    assert failure(name, {}) is None


@st.composite
def calls(draw):
    """Draw a call with hostile values for one or two arguments."""
    name = draw(st.sampled_from(sorted(ENTRIES)))
    hostile = [argument for argument in ENTRIES[name][1] if (name, argument) not in UNCHECKED]
    chosen = draw(st.lists(st.sampled_from(hostile), min_size=1, max_size=2, unique=True))
    return name, {argument: draw(st.sampled_from(sorted(VALUES))) for argument in chosen}


def check(examples):
    @settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(calls())
    def run(call):
        name, chosen = call
        with warnings.catch_warnings():
            fault = failure(name, {argument: VALUES[value] for argument, value in chosen.items()})
        assert fault is None, f"{name}({chosen}): {fault}"

    run()


@pytest.mark.slow
def test_hostile_arguments():
    check(500)


@pytest.mark.long
def test_ten_thousand_hostile_calls():
    check(TOTAL)
