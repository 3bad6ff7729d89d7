"""Training and prediction over several devices: how work is divided, what is communicated, and equal results.

Two programs with eight CPU devices make all measurements, since a process has a fixed number of devices.
"""

import functools

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import deepuq_jax as dq
from deepuq_jax.tests import tolerances
from deepuq_jax.tests.forced_devices import run_module
from deepuq_jax.tests.resuming import SMALL, X, Y, parabola

QUICK = ("layouts", "epochs_divide_the_work", "batched_predictions")
LONG = (
    "layouts_in_float64",
    "more_layouts",
    "other_predictions",
    "sharded_parameters",
    "draws_and_seeds",
    "explicit_sharding",
    "shard_map",
    "iterators",
    "a_sharding",
)
# Each of four devices does a quarter of the work per example, and all of the work per parameter (noise, KL and
# optimizer). The bound is for batches of 1,024.
LARGEST_SHARE = 0.32


@functools.cache
def measured(names):
    return run_module("deepuq_jax.tests.devices", *names, devices=8)


def assert_within(found, bound):
    assert {name: value for name, value in found.items() if not value <= bound} == {}


@pytest.mark.slow
def test_results_do_not_depend_on_the_number_of_devices():
    (found,) = measured(QUICK)["layouts"].values()
    assert found.pop("noise") == 0.0
    assert_within(found, tolerances.LAYOUTS["float32"])


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_do_not_depend_on_other_numbers_of_devices(dtype):
    runs = list(measured(LONG)["more_layouts"][dtype].values())
    if dtype == "float64":
        runs += list(measured(LONG)["layouts_in_float64"].values())
    for found in runs:
        assert found.pop("noise") == 0.0
        assert_within(found, tolerances.LAYOUTS[dtype])


@pytest.mark.slow
def test_an_epoch_divides_its_work_and_sums_its_gradients_once():
    parameters = 256 * 512 + 512 + 512 * 512 + 512 + 512 * 8 + 8
    found = measured(QUICK)["epochs_divide_the_work"]
    assert all(one["share"] <= LARGEST_SHARE for one in found.values())
    # One sum serves the gradients of the means, those of the standard deviations, and the loss.
    ((kind, size),) = found["data that are copied"]["collectives"]
    assert kind == "all-reduce"
    assert parameters <= size <= parameters + 16
    # If the data are split, the rows of the batch are communicated too, with three further numbers per row.
    others = [size for kind, size in found["data that are split"]["collectives"] if size < parameters]
    assert max(others) == 1024 * 256
    assert sum(others) <= 1024 * (256 + 4)


@pytest.mark.slow
def test_a_batched_prediction_divides_its_work_and_communicates_nothing():
    assert measured(QUICK)["batched_predictions"]["share"] <= LARGEST_SHARE
    assert measured(QUICK)["batched_predictions"]["collectives"] == []


@pytest.mark.long
def test_every_prediction_divides_its_work_and_communicates_nothing():
    found = measured(LONG)["other_predictions"]
    assert all(one["collectives"] == [] for one in found.values())
    assert found["all at once"]["share"] <= LARGEST_SHARE
    # Batches of 768 and 512: more of the operations are per parameter.
    assert found["with a remainder"]["share"] <= 0.35


@pytest.mark.long
@pytest.mark.parametrize("model", ["of_layers", "of_a_network"])
def test_annotated_parameters_are_split_over_columns_and_rows(model):
    found = measured(LONG)["sharded_parameters"][model]
    assert found["parts"] == [[16, 32], [32, 64]]
    assert {"(None, 'model')", "('model', None)"} <= set(found["annotations"])
    assert found["distance"] <= tolerances.LAYOUTS["float32"]
    # One collective sums activations after the kernel that is split by rows, one sums gradients, and one sums 60 other
    # numbers. Noise is not communicated.
    assert len(found["collectives"]) == 3
    assert all(kind == "all-reduce" for kind, _ in found["collectives"])


@pytest.mark.long
def test_draws_and_seeds_are_spread_over_axes_of_a_mesh():
    found = measured(LONG)["draws_and_seeds"]
    assert found.pop("collectives of draws") == []
    assert_within(found, tolerances.LAYOUTS["float32"])


@pytest.mark.long
def test_explicit_sharding():
    found = measured(LONG)["explicit_sharding"]
    assert found.pop("layout") == "P('data', None)"
    assert_within(found, tolerances.LAYOUTS["float32"])


@pytest.mark.long
def test_shard_map():
    assert_within(measured(LONG)["shard_map"], tolerances.LAYOUTS["float32"])


@pytest.mark.long
def test_batches_of_an_iterator_keep_their_sharding():
    found = measured(LONG)["iterators"]
    assert found.pop("devices") == [0, 4, 4]
    assert_within(found, tolerances.LAYOUTS["float32"])


@pytest.mark.long
def test_fit_shards_data_of_the_host():
    found = measured(LONG)["a_sharding"]
    assert found["devices"] == [4]
    assert found["history"] <= tolerances.LAYOUTS["float32"]
    assert "Expected batch_size to be a multiple of the 4 parts that sharding makes" in found["message"]


def test_unsupported_shardings_are_refused():
    mesh = jax.make_mesh((1,), ("data",), devices=jax.devices()[:1])
    for sharding, error, message in (
        ("data", TypeError, "to be a jax.sharding.NamedSharding"),
        (NamedSharding(mesh, PartitionSpec()), ValueError, "to split the leading axis alone"),
        (NamedSharding(mesh, PartitionSpec(None, "data")), ValueError, "to split the leading axis alone"),
    ):
        with pytest.raises(error, match=f"Expected sharding {message}"):
            dq.fit(parabola(), X, Y, **SMALL, sharding=sharding)


@pytest.mark.parametrize("sizes", [(12, 4), (13, 4), (14, 4), (9, 5), (12, 12), (5, 8)], ids=str)
def test_batches_of_a_prediction_cover_every_row_once(sizes):
    from deepuq_jax.prediction.draws import in_batches

    size, batch_size = sizes
    seen = []

    def double(x):
        seen.append(x.shape[0])
        return 2 * x

    x = np.arange(2 * size).reshape(size, 2)
    np.testing.assert_array_equal(in_batches(double, jax.numpy.asarray(x), batch_size), 2 * x)
    assert max(seen) <= batch_size
