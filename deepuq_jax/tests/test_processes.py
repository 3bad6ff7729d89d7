"""Training over two processes, each of which holds its part of the data."""

import functools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from deepuq_jax.tests import tolerances
from deepuq_jax.tests.devices import data, distance
from deepuq_jax.tests.processes import PROCESSES, Batches, moments, results, resumed

PAGE = Path(__file__).parents[2] / "docs" / "devices.md"
# A process counts as dead after so many seconds without a sign of life, more than a busy machine pauses it.
HEARTBEAT = 10
PROGRAM = f"""
import sys
from pathlib import Path
import jax
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(sys.argv[1], {PROCESSES}, int(sys.argv[2]), heartbeat_timeout_seconds={HEARTBEAT})
from deepuq_jax.tests import processes
processes.main(Path(sys.argv[3]), exits=sys.argv[4] == "exits")
"""
# The seconds that a run may take on a busy machine, before the test gives up.
PATIENCE = 300


def free_address():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return f"localhost:{free.getsockname()[1]}"


@functools.cache
def run(exits):
    """Run two processes, of which the second one is killed in the end.

    Returns:
        (folder of the results, what the first process wrote about the error that ended it, seconds from the kill to the
        error, seconds to the end of the process, its output)
    """
    folder = Path(tempfile.mkdtemp())
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", PROGRAM, free_address()]
    ways = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "env": environment}
    started = [subprocess.Popen([*command, str(rank), str(folder), exits], **ways) for rank in range(PROCESSES)]
    try:
        outputs = [process.communicate(timeout=PATIENCE)[0] for process in started]
        ended = time.time()
    finally:
        for process in started:
            process.kill()
    assert started[1].returncode == -signal.SIGKILL, outputs
    assert started[0].returncode not in (0, None), outputs
    killed = float(outputs[1].splitlines()[-1])
    about = json.loads((folder / "about.json").read_text())
    return folder, about, about["at"] - killed, ended - killed, outputs[0]


@functools.cache
def alone():
    """Return the results of one process, and the results of continuing from the checkpoint of two."""
    x, y = data()
    batches = Batches(lambda start, stop: (x[start:stop], y[start:stop]))
    with tempfile.TemporaryDirectory() as folder:
        found = results(x, y, batches, Path(folder))
        found["resumed by two"] = resumed(x, y, Path(folder) / "run")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["arrays", "batches", "resumed by two"])
def test_two_processes_equal_one(name):
    check_equal(run("at once")[0], name, alone()[name])


def check_equal(folder, name, expected):
    with np.load(folder / "found.npz") as found:
        leaves = [found[f"{name}/{i}"] for i in range(sum(key.startswith(f"{name}/") for key in found))]
    assert distance(leaves, jax.tree.leaves(expected)) <= tolerances.LAYOUTS["float32"]


@pytest.mark.long
def test_predictions_of_two_processes_equal_those_of_one():
    check_equal(run("exits")[0], "moments", moments(data()[0]))


@pytest.mark.slow
def test_a_checkpoint_of_two_processes_is_resumed_by_one():
    expected = alone()["resumed by two"]
    assert distance(resumed(*data(), run("at once")[0] / "copy"), expected) <= tolerances.LAYOUTS["float32"]


@pytest.mark.slow
def test_bad_rows_are_refused_by_the_process_that_holds_them():
    assert run("at once")[1]["refusal"] == "Expected x to be finite; got NaN or infinity among its entries."


@pytest.mark.slow
def test_a_killed_process_ends_the_others():
    _, about, seconds, _, _ = run("at once")
    assert about["epochs"] >= 1
    assert any("2 processes" in note for note in about["notes"])
    assert seconds < HEARTBEAT


@pytest.mark.long
def test_python_exits_after_another_process_was_killed():
    _, _, _, seconds, output = run("exits")
    assert "JaxRuntimeError" in output
    assert "2 processes" in output
    # The shutdown of jax.distributed waits for a sign of life of the process that was killed.
    assert seconds < 6 * HEARTBEAT


@pytest.mark.long
@pytest.mark.skipif(not PAGE.exists(), reason="an installed package has no docs beside it")
def test_the_program_of_the_page_runs(tmp_path):
    (program,) = re.findall(r"^```py\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M)
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "ADDRESS": free_address(), "PROCESSES": str(PROCESSES)}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**environment, "RANK": str(rank)},
        )
        for rank in range(PROCESSES)
    ]
    lines = [process.communicate(timeout=PATIENCE)[0].splitlines()[-1].split() for process in started]
    assert [int(rank) for rank, _ in lines] == list(range(PROCESSES))
    assert lines[0][1] == lines[1][1]
