"""Fit and predict in a process of its own, which the environment of either library can run.

The process reads training data and settings from a folder, and writes its measurements and the draws of the prediction
there. It imports one of the two libraries; for bde, nothing of this repository.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

PACKAGES = {
    "bde": ("sklearn-contrib-bde", "jax", "blackjax", "numpy", "scikit-learn"),
    "deepuq_jax": ("deepuq-jax", "jax", "flax", "numpy", "scikit-learn"),
}


class Data(NamedTuple):
    """Training inputs [n, d] and targets [n], and test inputs [m, d]."""

    x: np.ndarray
    y: np.ndarray
    test_x: np.ndarray


# A run maps (data, settings) to the means and variances of the draws of the prediction, [draws, m] each.
Run = Callable[[Data, dict[str, Any]], tuple[np.ndarray, np.ndarray]]


def load_bde() -> Run:
    """Import bde, and return its run."""
    return bde_run(import_module("bde").BdeRegressor)


def bde_run(regressor: Any) -> Run:
    """The run of a class like BdeRegressor, in the units of the data."""

    def run(data: Data, settings: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        # The README of bde standardises inputs and targets by the training rows.
        x_mean, x_std = data.x.mean(axis=0), data.x.std(axis=0) + 1e-8
        y_mean, y_std = data.y.mean(), data.y.std() + 1e-8
        model = regressor(**settings).fit((data.x - x_mean) / x_std, (data.y - y_mean) / y_std)
        raw = np.asarray(model.predict((data.test_x - x_mean) / x_std, raw=True), np.float64)
        # [members, draws, rows, 2]: the mean, and the standard deviation before softplus, to which bde adds 1e-6.
        mean, std = raw[..., 0], np.logaddexp(0.0, raw[..., 1]) + 1e-6
        rows = raw.shape[2]
        return y_mean + y_std * mean.reshape(-1, rows), (y_std * std.reshape(-1, rows)) ** 2

    return run


def load_deepuq_jax() -> Run:
    """Import deepuq_jax, and return its run."""
    jax, recipe = import_module("jax"), import_module("benchmarks.accuracy.uci_recipe")
    regressor: Any = import_module("deepuq_jax.sklearn").VIRegressor
    predict = jax.jit(recipe.predict, static_argnames="draws")

    def run(data: Data, settings: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        model = regressor(**settings).fit(data.x, data.y)
        key = jax.random.key(settings["random_state"])
        mean, var = predict(model.model_, np.asarray(data.test_x, np.float32), key, draws=model.n_samples)
        return np.asarray(mean, np.float64), np.asarray(var, np.float64)

    return run


LOADERS: dict[str, Callable[[], Run]] = {"bde": load_bde, "deepuq_jax": load_deepuq_jax}


def peak_memory() -> int:
    """The largest memory of this process so far, bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # On Linux, ru_maxrss starts at the memory of the parent process.
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return 1024 * int(lines["VmHWM"].removesuffix("kB"))
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def timed(run: Run, data: Data, settings: dict[str, Any]) -> tuple[dict[str, float], tuple[np.ndarray, np.ndarray]]:
    """Fit and predict once.

    Returns:
        the wall seconds "seconds" and the seconds of user CPU "cpu", and the draws.
    """
    start, cpu = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_utime
    draws = run(data, settings)
    spent = resource.getrusage(resource.RUSAGE_SELF).ru_utime - cpu
    return {"seconds": time.perf_counter() - start, "cpu": spent}, draws


def main(folder: Path) -> None:
    """Run the task in a folder: task.json, data.npz to measured.json, draws.npz."""
    task = json.loads((folder / "task.json").read_text())
    with np.load(folder / "data.npz") as file:
        data = Data(file["x"], file["y"], file["test_x"])
    start = time.perf_counter()
    run = LOADERS[task["library"]]()
    measured: dict[str, Any] = {"import_seconds": time.perf_counter() - start}
    found, (mean, var) = timed(run, data, task["settings"])
    measured |= {**found, "peak_bytes": peak_memory(), "again": None}
    if task["again"]:
        measured["again"] = timed(run, data, task["settings"])[0]
    measured["versions"] = {name: metadata.version(name) for name in PACKAGES[task["library"]]}
    np.savez(folder / "draws.npz", mean=mean, var=var)
    (folder / "measured.json").write_text(json.dumps(measured))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
