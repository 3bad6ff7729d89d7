"""The Monte Carlo error of predictions: measured over repetitions, and estimated by each prediction."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import deepuq_jax as dq
from benchmarks.accuracy.report import environment, table
from parity_tests import backend, markers

DRAWS, REPETITIONS, EXACT = (10, 50, 200), 20, 4000
QUICK_EPOCHS = 2


class Problem(NamedTuple):
    """A data set in two parts, and an untrained model.

    Attributes:
        name: describes the data and the network, for the table.
        model: an untrained model, which has a likelihood.
        train, test: pairs (x, y).
    """

    name: str
    model: Any
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


def _parts(x: np.ndarray, y: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Hold out three tenths as the test set, and standardize the inputs by the other rows."""
    order = np.random.default_rng(0).permutation(len(x))
    test, train = order[: 3 * len(x) // 10], order[3 * len(x) // 10 :]
    mean, std = x[train].mean(axis=0), x[train].std(axis=0)
    x = ((x - mean) / np.where(std > 0, std, 1.0)).astype(np.float32)
    return (x[train], y[train]), (x[test], y[test])


def _bunch(load: Callable[..., Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the inputs and targets of a loader of scikit-learn."""
    found = load()
    return found.data, found.target


def digits() -> Problem:
    """Images of digits."""
    from sklearn.datasets import load_digits

    model = dq.BayesByBackpropMLP(64, (64,), 10, likelihood=dq.Categorical(), rngs=nnx.Rngs(0))
    return Problem("digits, 64-64-10", model, *_parts(*_bunch(load_digits)))


def breast_cancer() -> Problem:
    """A binary classification of few rows."""
    from sklearn.datasets import load_breast_cancer

    model = dq.BayesByBackpropMLP(30, (64, 64), 2, likelihood=dq.Categorical(), rngs=nnx.Rngs(0))
    return Problem("breast cancer, 30-64-64-2", model, *_parts(*_bunch(load_breast_cancer)))


def diabetes() -> Problem:
    """A regression with much noise, in units of its standard deviation."""
    from sklearn.datasets import load_diabetes

    x, y = _bunch(load_diabetes)
    model = dq.HomoscedasticBayesByBackpropRegressor(10, (50,), rngs=nnx.Rngs(0))
    return Problem("diabetes, 10-50-1", model, *_parts(x, ((y - y.mean()) / y.std())[:, None].astype(np.float32)))


def smooth() -> Problem:
    """A regression of 1,000 rows with little noise."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (1000, 8))
    y = np.sin(3 * x[:, :1]) + x[:, 1:2] * x[:, 2:3] + 0.05 * rng.normal(size=(1000, 1))
    model = dq.HomoscedasticBayesByBackpropRegressor(8, (50,), rngs=nnx.Rngs(0))
    return Problem("smooth function of 8 inputs, 8-50-1", model, *_parts(x, y.astype(np.float32)))


PROBLEMS: tuple[Callable[[], Problem], ...] = (digits, breast_cancer, diabetes, smooth)


def measure(problem: Problem, *, epochs: int | None, seed: int) -> dict[str, Any]:
    """Fit the model, and compare the spread of repeated predictions with their own error estimates.

    Returns:
        a dict with `exact`, the mean log predictive density with `EXACT` draws; `exact_error`, its standard error; and
        `rows`, one per number of draws.
    """
    fitting, long, short = jax.random.split(jax.random.key(seed), 3)
    model = dq.fit(problem.model, *problem.train, key=fitting, epochs=epochs).model

    def density(key: Any, draws: int) -> dq.DensityEstimate:
        return dq.log_density_with_error(model, *problem.test, key=key, n_samples=draws)

    exact = density(long, EXACT)
    rows = []
    for draws in DRAWS:
        found = [density(key, draws) for key in jax.random.split(short, REPETITIONS)]
        means = np.array([float(one.mean) for one in found])
        square = np.mean([float(one.mean_error) ** 2 for one in found])
        rows.append(
            {
                "draws": draws,
                "error": float(means.std(ddof=1)),
                "estimated_error": float(np.sqrt(square)),
                "bias": float(means.mean() - exact.mean),
                "estimated_bias": float(jnp.mean(jnp.stack([one.bias for one in found]))),
            }
        )
    return {"exact": float(exact.mean), "exact_error": float(exact.mean_error), "rows": rows}


def as_markdown(record: dict[str, Any]) -> str:
    """The table of the page, between its markers."""
    header = ["data and network", "draws", "standard error, nats", "as estimated", "bias, nats", "as estimated"]
    names = ("error", "estimated_error", "bias", "estimated_bias")
    rows = [
        [name, str(row["draws"]), *(f"{row[column]:.4f}" for column in names)]
        for name, found in record["problems"].items()
        for row in found["rows"]
    ]
    return markers.block("draws", [table(header, rows)])


def main(argv: list[str]) -> None:
    """Measure every problem, and write the record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks accuracy draws", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the record here")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random numbers (default 0)")
    parser.add_argument("--quick", action="store_true", help="train for two epochs, to see that everything works")
    backend.add_option(parser)
    args = backend.parse(parser, argv)
    problems = {}
    for build in PROBLEMS:
        problem = build()
        problems[problem.name] = measure(problem, epochs=QUICK_EPOCHS if args.quick else None, seed=args.seed)
        print(problem.name, flush=True)
    record = {"seed": args.seed, "quick": args.quick, "problems": problems}
    print(as_markdown(record))
    if args.json is not None:
        args.json.write_text(json.dumps({"environment": environment(), **record}, indent=1) + "\n")
