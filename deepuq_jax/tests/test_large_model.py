"""A model that is split over devices stays split: before, during and after training, no device holds all of it."""

import functools

import numpy as np
import pytest

from deepuq_jax.tests.forced_devices import run_module
from deepuq_jax.tests.transformer import DEVICES, SIZES


@functools.cache
def measured(*calls):
    return run_module("deepuq_jax.tests.transformer", *calls, devices=DEVICES)


def check_shares(found, largest):
    # Parameters, then the moments of Adam and the sum of gradients of `optax.MultiSteps`.
    assert max(*found["before"], *found["after"]) <= largest
    held = 4 * found["bytes"] * largest
    data = 4096
    assert found["bytes of arguments"] <= held + data
    assert np.isfinite(found["losses"]).all()
    assert found["losses"][1] < found["losses"][0]


@pytest.mark.long
def test_fit_keeps_parameters_and_optimizer_split():
    # The vectors of LayerNorm and the biases of the outputs are copied to each device.
    check_shares(measured("trained:one block")["trained"], 0.29)


@pytest.mark.long
def test_no_device_holds_twenty_million_parameters():
    found = measured("trained:20 million")["trained"]
    assert 20e6 <= found["parameters"] <= 21e6
    check_shares(found, 0.251)
    # Nothing as large as the smallest kernel is sent, so the temporary arrays belong to the device's own quarter:
    # gradients, drawn weights, and a copy of the quarter of the state.
    assert found["sent"] < SIZES["20 million"].width ** 2
    assert found["bytes of temporaries"] <= 5 * found["bytes"] / DEVICES


@pytest.mark.long
def test_activations_of_blocks_are_computed_again():
    kept, recomputed = measured("kept_for_the_gradient:many tokens")["kept_for_the_gradient"]
    assert recomputed < 0.05 * kept
