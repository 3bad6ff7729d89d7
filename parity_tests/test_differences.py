"""Where the two packages differ on purpose: stated, so that a change is noticed."""

from __future__ import annotations

import numpy as np
import pytest

import deepuq_jax as dj
from parity_tests import refusals


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


def test_a_named_noise_scores_a_step_in_jax_alone():
    """The documented regressors cannot name it and are scored by mean squared error, as JAX's are without it."""
    y = np.zeros((4, 2), np.float32)
    one, other = (
        refusals.jax_step(y, refusals.jax_regressor(likelihood=likelihood))[1].nll
        for likelihood in (dj.Gaussian(0.5), dj.UnknownNoise())
    )
    np.testing.assert_allclose(one, 2 * (other / (2 * 0.25) + np.log(0.5) + 0.5 * np.log(2 * np.pi)), rtol=1e-5)
