"""A run that is spread over several devices resumes over fewer or more of them."""

import subprocess
import sys

import pytest

from deepuq_jax.tests.forced_devices import environment_of

# The process has four devices. Each run has a mesh of one, two or four of them.
PROGRAM = """
import sys
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import deepuq_jax as dq
from deepuq_jax.tests.resuming import ADAM, SMALL, X, Y, assert_same, parabola

def spread(count):
    mesh = Mesh(np.array(jax.devices()[:count]), ("data",))
    x, y = (jax.device_put(array, NamedSharding(mesh, PartitionSpec("data"))) for array in (X, Y))
    return jax.device_put(parabola(), NamedSharding(mesh, PartitionSpec())), x, y

folder, *counts = sys.argv[1:]
assert len(jax.devices()) == 4
options = {**SMALL, "optimizer": ADAM}
for epochs, count in enumerate(map(int, counts), start=1):
    result = dq.fit(*spread(count), **options, epochs=epochs, checkpoint=folder)
    assert len(jax.tree.leaves(result.state)[0].devices()) == count
whole = dq.fit(*spread(int(counts[0])), **options, epochs=len(counts))
for name, values in whole.history.items():
    np.testing.assert_allclose(result.history[name], values, rtol=1e-5, err_msg=name)
for one, other in zip(jax.tree.leaves(result.state), jax.tree.leaves(whole.state), strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
if len(set(counts)) == 1:
    assert_same(result, whole)
"""


@pytest.mark.long
@pytest.mark.parametrize("counts", [[4, 2], [4, 4], [1, 4, 2, 1]], ids=str)
def test_a_run_resumes_on_another_number_of_devices_up_to_rounding(counts, tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), *map(str, counts)]
    process = subprocess.run(command, capture_output=True, text=True, env=environment_of(4))
    assert process.returncode == 0, process.stderr
