"""Intended differences between the two packages, so that a change is noticed."""

from __future__ import annotations

import numpy as np
import pytest

import deepuq_jax as dj
from parity_tests import refusals


def test_values_that_are_not_finite_are_refused_by_jax_alone():
    """deepuq_torch checks only static facts, since reading values stalls a GPU."""
    with pytest.raises(ValueError, match="finite"):
        refusals.jax_step(x=refusals.X * np.nan)
    refusals.torch_step(x=refusals.X * np.nan)


@pytest.mark.slow
def test_labels_out_of_range_are_refused_by_jax_alone():
    """deepuq_torch leaves labels to torch, whose kernels find most bad labels on a CPU.

    torch's cross-entropy ignores the label -100.
    """
    for label in (2, -1, -100):
        with pytest.raises(ValueError, match="labels from 0 to 1"):
            refusals.jax_step(np.full(4, label))
    refusals.torch_step(np.full(4, -100))


def test_an_empty_batch_is_refused_by_jax_alone():
    """In torch, an empty batch has empty predictions, and the caller's own criterion decides its loss."""
    empty = refusals.X[:0]
    with pytest.raises(ValueError, match="at least one example"):
        refusals.jax_predict(empty)
    assert refusals.torch_predict(empty).mean.shape == (0, 2)

    def total(outputs, y):
        return outputs.sum()

    with pytest.raises(ValueError, match="at least one example"):
        refusals.jax_step(np.zeros(0, np.int64), x=empty, criterion=total)
    assert float(refusals.torch_step(np.zeros(0, np.int64), x=empty, criterion=total)[1]) == 0.0


def test_noise_of_no_known_structure_is_a_bad_value_to_jax_and_a_bad_type_to_torch():
    """JAX refuses a string because it has no axis of draws, since in JAX any pytree may be noise."""
    with pytest.raises(ValueError, match="Expected noise"):
        refusals.jax_predict(noise="noise")
    with pytest.raises(TypeError, match="Expected noise"):
        refusals.torch_predict(noise="noise")


def test_class_probabilities_as_targets_are_accepted_by_torch_alone():
    """torch's cross-entropy accepts them, and the JAX likelihood needs labels."""
    targets = np.full((4, 2), 0.5, np.float32)
    with pytest.raises(TypeError, match="integer labels"):
        refusals.jax_step(targets)
    refusals.torch_step(targets)
    with pytest.raises(ValueError, match="Expected y"):  # probabilities of a wrong shape are a wrong value
        refusals.torch_step(targets[:, :1])


def test_a_named_likelihood_scores_a_step_in_jax_alone():
    """The documented regressors have no argument for their noise.

    Mean squared error scores them, as it scores the regressors of JAX whose noise is unknown.
    """
    y = np.zeros((4, 2), np.float32)
    one, other = (
        refusals.jax_step(y, refusals.jax_regressor(likelihood=likelihood))[1].nll
        for likelihood in (dj.Gaussian(0.5), dj.UnknownNoise())
    )
    np.testing.assert_allclose(one, 2 * (other / (2 * 0.25) + np.log(0.5) + 0.5 * np.log(2 * np.pi)), rtol=1e-5)
