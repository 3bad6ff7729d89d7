"""Where the two packages differ on purpose, or have not been made one yet: stated, so that a change is noticed."""

from __future__ import annotations

import numpy as np
import pytest

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


def test_class_probabilities_as_targets_are_torch_alone():
    """The documented default criterion, mean cross-entropy, takes them; the JAX likelihood is of labels."""
    targets = np.full((4, 2), 0.5, np.float32)
    with pytest.raises(TypeError, match="integer labels"):
        refusals.jax_step(targets)
    refusals.torch_step(targets)
