"""Where the two packages differ on purpose, or have not been made one yet: stated, so that a change is noticed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flax import nnx

import deepuq_jax as dj
import deepuq_torch as dt
from parity_tests import refusals

_DOCUMENTED = ("method", "n_samples", "task")


@pytest.mark.parametrize("softmax", [False, True])
def test_documented_metadata_is_the_same(softmax: bool):
    one, other = (predict(apply_softmax=softmax) for predict in (refusals.jax_predict, refusals.torch_predict))
    assert {k: one.metadata[k] for k in _DOCUMENTED} == {k: other.metadata[k] for k in _DOCUMENTED}


def test_metadata_of_later_releases_is_of_torch_alone():
    assert set(refusals.torch_predict().metadata) - set(refusals.jax_predict().metadata) == {"heteroscedastic"}


@pytest.mark.parametrize("count", ["num_batches", "mc_samples"])
def test_a_numpy_count_is_an_int_to_jax_alone(count: str):
    """The original takes ``isinstance(value, int)`` alone for a count, and so does torch."""
    refusals.jax_step(**{count: np.int64(3)})
    with pytest.raises(ValueError, match=count):
        refusals.torch_step(**{count: np.int64(3)})


def test_noise_beside_class_probabilities_is_refused_by_jax_alone():
    """The documented function ignores it, and scripts written for it may pass it."""
    with pytest.raises(ValueError, match="aleatoric_var"):
        refusals.jax_predict(apply_softmax=True, aleatoric_var=1.0)
    assert refusals.torch_predict(apply_softmax=True, aleatoric_var=1.0).aleatoric_var is None


def test_data_that_only_its_values_tell_is_refused_by_jax_alone():
    """On a GPU, looking at values would stall torch's stream: only static facts are checked there."""
    with pytest.raises(ValueError, match="finite"):
        refusals.jax_step(x=refusals.X * np.nan)
    refusals.torch_step(x=refusals.X * np.nan)


def test_labels_out_of_range_are_refused_by_jax_alone():
    """Values again: torch's own kernels notice most on a CPU, and -100 is its mark for a label to be left out."""
    for label in (2, -1, -100):
        with pytest.raises(ValueError, match="labels from 0 to 1"):
            refusals.jax_step(np.full(4, label))
    refusals.torch_step(np.full(4, -100))


def test_a_batch_of_none_is_refused_by_jax_alone_where_it_has_a_meaning():
    """The documented function predicts nothing for no inputs, and asks a criterion of the caller's own."""
    empty = refusals.X[:0]
    with pytest.raises(ValueError, match="at least one example"):
        refusals.jax_predict(empty)
    assert refusals.torch_predict(empty).mean.shape == (0, 2)
    total = lambda outputs, y: outputs.sum()
    with pytest.raises(ValueError, match="at least one example"):
        refusals.jax_step(np.zeros(0, np.int64), x=empty, criterion=total)
    assert float(refusals.torch_step(np.zeros(0, np.int64), x=empty, criterion=total)[1]) == 0.0


def test_a_size_that_is_no_integer_is_a_bad_value_to_jax_and_a_bad_type_to_torch():
    values: list[Any] = [True, 2.0, "2", None]
    for bad in values:
        with pytest.raises(ValueError, match="Expected in_features"):
            dj.BayesianLinear(bad, 2, rngs=nnx.Rngs(0))
        with pytest.raises(TypeError, match="Expected in_features"):
            dt.BayesianLinear(bad, 2)


def test_noise_of_no_known_structure_is_a_bad_value_to_jax_and_a_bad_type_to_torch():
    """To JAX any pytree may be noise, so that what is wrong with a string is its missing axis of draws."""
    with pytest.raises(ValueError, match="Expected noise"):
        refusals.jax_predict(noise="noise")
    with pytest.raises(TypeError, match="Expected noise"):
        refusals.torch_predict(noise="noise")


def test_class_probabilities_as_targets_are_torch_alone():
    """The documented default criterion, mean cross-entropy, takes them; the JAX likelihood is of labels."""
    targets = np.full((4, 2), 0.5, np.float32)
    with pytest.raises(TypeError, match="integer labels"):
        refusals.jax_step(targets)
    refusals.torch_step(targets)
    with pytest.raises(ValueError, match="Expected y"):  # probabilities of a wrong shape, and so of a wrong value
        refusals.torch_step(targets[:, :1])
