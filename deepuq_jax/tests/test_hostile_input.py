"""Hostile arguments end in a right answer or in a documented error, for every public name."""

import os
import warnings

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import deepuq_jax as dq
from deepuq_jax.tests.hostile import entries_functional, entries_models, entries_values
from deepuq_jax.tests.hostile.entry import failure
from deepuq_jax.tests.hostile.values import ANY

GROUPS = {
    "functions": entries_functional.ENTRIES,
    "values": entries_values.ENTRIES,
    "models": entries_models.MADE | entries_models.CALLED,
    "training": entries_models.TRAINED,
}
# Examples of each group in `make test`; DEEPUQ_EXAMPLES sets the total of the long test.
SMALL = {"functions": 150, "values": 100, "models": 60, "training": 8}
TOTAL = int(os.environ.get("DEEPUQ_EXAMPLES", "10000"))
SHARES = {"functions": 0.4, "values": 0.35, "models": 0.23, "training": 0.02}

# Public names without an entry of their own: other entries call them, or they cannot be called.
TYPES = {"BayesianModel", "Estimator", "Likelihood", "Objective", "Prior"}  # base classes and protocols
MODULES = {
    "conformal",
    "diagnostics",
    "estimators",
    "functional",
    "interop",
    "layers",
    "likelihoods",
    "metrics",
    "objectives",
    "priors",
}
RESULTS = {
    "DensityEstimate",
    "ELBOTerms",
    "FitResult",
    "PriorChoice",
    "KeyRequiredError",
    "NonFiniteError",
    "UQResult",
}  # what the library returns
COVERED = {
    "BayesianModule": "bayesianize",
    "PredictionSets": "aps",
    "QuantileIntervals": "cqr",
    "SplitIntervals": "split",
    "GaussianPosterior": "MeanField",  # It also accepts the placeholders of JAX's transformations.
    "combine": "partition",
    "load": "save",  # and test_saving_fuzz
    "saving": "save",
    "schedules": "schedules.linear",
    "approximate_local_reparameterization": "BayesianLinear",
    "flipout": "BayesianLinear",
    "local_reparameterization": "BayesianLinear",
    "weight_sampling": "BayesianLinear",
}


@pytest.fixture(autouse=True)
def any_rank():
    """Allow rank promotion, since hostile shapes broadcast against each other where that is documented."""
    with jax.numpy_rank_promotion("allow"):
        yield


def with_entry():
    return {key.partition(".")[0] for entries in GROUPS.values() for key in entries}


def test_every_public_name_has_an_entry():
    names = {*dq.__all__, *dq.functional.__all__, *dq.metrics.__all__, *dq.likelihoods.__all__}
    names |= {*dq.priors.__all__, *dq.estimators.__all__, *dq.conformal.__all__}
    missing = names - with_entry() - TYPES - MODULES - RESULTS - COVERED.keys()
    assert not missing, "Add an entry to deepuq_jax/tests/hostile/entries_*.py."


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_some_valid_arguments_are_taken(group):
    assert faults_of_valid(group, every=8) == {}


@pytest.mark.long
@pytest.mark.parametrize("group", GROUPS)
def test_valid_arguments_are_taken(group):
    assert faults_of_valid(group, every=1) == {}


def faults_of_valid(group, every):
    entries = GROUPS[group]
    return {name: fault for name in list(entries)[::every] if (fault := failure(entries[name], {}))}


def hostile_calls(group):
    """Make a strategy for calls of the group, with hostile values for one or two arguments."""
    entries = GROUPS[group]

    def replaced(name):
        hostile = entries[name].hostile
        if not hostile:
            return st.just((name, {}))
        some = st.lists(st.sampled_from(hostile), min_size=1, max_size=2, unique=True)
        return some.flatmap(lambda names: st.fixed_dictionaries(dict.fromkeys(names, ANY))).map(lambda d: (name, d))

    return st.sampled_from(sorted(entries)).flatmap(replaced)


def check(group, examples):
    @settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(hostile_calls(group))
    def run(call):
        name, arguments = call
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            fault = failure(GROUPS[group][name], arguments)
        assert fault is None, f"{name}({arguments}): {fault}"

    run()


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_hostile_arguments(group):
    check(group, SMALL[group])


@pytest.mark.long
@pytest.mark.parametrize("group", GROUPS)
def test_ten_thousand_hostile_calls(group):
    check(group, round(SHARES[group] * TOTAL))
