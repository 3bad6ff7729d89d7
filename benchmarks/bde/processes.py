"""The environment of bde, and the processes that fit and predict."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.accuracy import uci_score
from benchmarks.accuracy.uci_score import Draws
from benchmarks.bde import worker
from benchmarks.bde.data import Split
from benchmarks.bde.methods import Method

ROOT = Path(__file__).parents[2]
PYTHON = Path(".venv-bde/bin/python")
_FIND = "import importlib.util as u; s = u.find_spec('bde'); print(s.submodule_search_locations[0] if s else '')"


class Environment(NamedTuple):
    """The environment of bde.

    Attributes:
        python: its interpreter.
        package: the folder of the package, which holds the data.
    """

    python: Path
    package: Path


def find(python: Path) -> Environment:
    """Find bde in the environment of an interpreter.

    Raises:
        SystemExit: if there is no such interpreter, or bde is not installed there.
    """
    package = ""
    if python.exists():
        package = subprocess.run([python, "-I", "-c", _FIND], capture_output=True, text=True).stdout.strip()
    if not package:
        raise SystemExit(
            f"Expected --python to be a Python with sklearn-contrib-bde, which `make bench-bde` installs; got {python}."
        )
    return Environment(python, Path(package))


def run(method: Method, split: Split, environment: Environment, *, seed: int) -> dict[str, Any]:
    """Fit and predict in a new process, and score the prediction here.

    Returns:
        "nll", "rmse" and "coverage" (percent, of the central intervals at the levels of `uci_score.LEVELS`), and what
        `worker.main` measured.
    Raises:
        RuntimeError: if the process fails.
    """
    task = {"library": method.library, "settings": method.seeded(seed), "again": method.again}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "task.json").write_text(json.dumps(task))
        np.savez(folder / "data.npz", x=split.x, y=split.y, test_x=split.test_x)
        command = [*interpreter(method.library, environment), worker.__file__, str(folder)]
        done = subprocess.run(command, env=variables(method.library), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"Expected {method.name} to run; got:\n{done.stderr[-2000:]}")
        measured = json.loads((folder / "measured.json").read_text())
        with np.load(folder / "draws.npz") as file:
            draws = Draws(file["mean"], file["var"])
    return scores(draws, split.test_y) | measured


def scores(draws: Draws, y: np.ndarray) -> dict[str, Any]:
    """Score the mixture of Gaussians of all draws, in the target's units.

    >>> found = scores(Draws(np.zeros((1, 2)), np.ones((1, 2))), np.array([0.0, 1.0]))
    >>> round(found["nll"], 4), round(found["rmse"], 4), found["coverage"], found["draws"]
    (1.1689, 0.7071, [50.0, 100.0, 100.0], 1)
    """
    found = uci_score.score(draws, y)
    coverage = [100 * share for share in found.coverage]
    return {"nll": -found.log_likelihood, "rmse": found.rmse, "coverage": coverage, "draws": len(draws.mean)}


def interpreter(library: str, environment: Environment) -> list[str]:
    """The interpreter of a library's process; that of bde does not see this repository."""
    if library == "bde":
        return [str(environment.python), "-I", "-W", "ignore"]
    return [sys.executable, "-P", "-W", "ignore"]


def variables(library: str) -> dict[str, str]:
    """The environment variables of a library's process: the CPU, and no cache of compiled programs.

    As its README asks, bde gets as many devices as the machine has cores, over which it divides its networks.
    """
    found = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_", "PYTHON"))}
    found["JAX_PLATFORMS"] = "cpu"
    if library == "bde":
        return found | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={os.cpu_count()}"}
    return found | {"PYTHONPATH": str(ROOT)}
