"""``python -m benchmarks accuracy smooth``: regression with many examples and almost no noise.

The data are made, so no files are needed: smooth functions of ten or twelve inputs, and noise that is a small or a
large share of the signal.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import nnx
from sklearn.datasets import make_friedman1

import deepuq_jax as dq
from benchmarks.accuracy import plot, report
from benchmarks.accuracy.networks import PointNetwork, perceptron
from benchmarks.accuracy.uci_recipe import predict
from benchmarks.accuracy.uci_score import LEVELS, Draws, Score, score, summary
from parity_tests import backend

TESTS = 2_000
# Standard deviations of the noise, relative to that of the signal.
NOISES = (0.001, 0.1, 0.5)


@dataclass(frozen=True)
class Plan:
    """Sizes of the run.

    Attributes:
        rows: number of training rows.
        hidden: hidden units of each layer.
        epochs: number of epochs; None leaves it to `fit`.
        draws: number of draws of the posterior in a prediction.
        repetitions: number of data sets and networks, each with its own seed.
    """

    rows: int = 10_000
    hidden: tuple[int, ...] = (64, 64)
    epochs: int | None = None
    draws: int = 100
    repetitions: int = 3


QUICK = Plan(rows=400, hidden=(8,), epochs=1, draws=5, repetitions=2)


def sines(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return twelve uniform inputs and a sum of sine waves, a product and a bump in them."""
    random = np.random.default_rng(seed)
    x = random.uniform(-1.0, 1.0, (rows, 12))
    waves = random.normal(size=12) * np.sin(random.uniform(0.5, 3.0, 12) * x)
    return x, waves.sum(axis=1) + x[:, 0] * x[:, 1] + np.exp(-3.0 * x[:, 2] ** 2) * x[:, 3]


def friedman(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return Friedman's first function of ten uniform inputs, five of which it uses."""
    return make_friedman1(rows, 10, noise=0.0, random_state=seed)


FUNCTIONS = {"sines": sines, "friedman": friedman}


class Data:
    """A made data set, with inputs and signal standardized."""

    def __init__(self, name: str, noise: float, rows: int, seed: int):
        x, signal = FUNCTIONS[name](rows + TESTS, seed)
        y = (signal - signal.mean()) / signal.std()
        y = y + noise * np.random.default_rng([seed, 1]).normal(size=len(y))
        x, y = ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32), y[:, None].astype(np.float32)
        self.train, self.test = (x[:rows], y[:rows]), (x[rows:], y[rows:])


def _fitted(build: Callable[..., Any], data: Data, seed: int, plan: Plan) -> Draws:
    """Train a model by `fit`, and predict the test rows."""
    model = build(data.train[0].shape[1], plan.hidden, rngs=nnx.Rngs(seed))
    model = dq.fit(model, *data.train, key=jax.random.key(seed), epochs=plan.epochs).model
    mean, var = jax.jit(predict, static_argnames="draws")(model, data.test[0], jax.random.key(seed + 1), plan.draws)
    return Draws(np.asarray(mean), np.asarray(var))


def _deterministic(data: Data, seed: int, plan: Plan) -> Draws:
    """Train a plain network on nine tenths of the rows by `fit`, and measure its noise on the others."""
    (x, y), held = data.train, len(data.train[0]) // 10
    net = perceptron((x.shape[1], *plan.hidden, 1), rngs=nnx.Rngs(seed))
    model = PointNetwork(net, dq.Gaussian(1.0))
    model = dq.fit(model, x[held:], y[held:], key=jax.random.key(seed), epochs=plan.epochs).model
    noise = float(np.mean((np.asarray(model(x[:held])) - y[:held]) ** 2))
    mean = np.asarray(model(data.test[0]))[None, :, 0]
    return Draws(mean, np.full_like(mean, noise))


SAME, OWN = dq.HomoscedasticBayesByBackpropRegressor, dq.HeteroscedasticBayesByBackpropRegressor
# With weight sampling in the layers, `fit` trains by Adam; by default, by natural gradients.
METHODS: dict[str, Callable[..., Draws]] = {
    "fit, defaults": partial(_fitted, SAME),
    "fit, defaults, heteroscedastic": partial(_fitted, OWN),
    "fit, weight sampling": partial(_fitted, partial(SAME, estimator=dq.weight_sampling)),
    "fit, weight sampling, heteroscedastic": partial(_fitted, partial(OWN, estimator=dq.weight_sampling)),
    "deterministic": _deterministic,
}


def measure(name: str, noise: float, method: str, *, plan: Plan, seed: int) -> dict[str, Any]:
    """Score a method on every repetition of a data set."""
    scores: list[Score] = []
    for i in range(plan.repetitions):
        own = 1000 * seed + i
        data = Data(name, noise, plan.rows, own)
        scores.append(score(METHODS[method](data, own, plan), data.test[1][:, 0]))
    return {**summary(scores), "per_split": [one._asdict() for one in scores]}


def as_markdown(record: dict[str, Any]) -> str:
    """Log-likelihood, RMSE and coverage of each method on each data set."""
    header = ["function", "noise", *METHODS]
    tables = []
    for title, cell in (
        ("Test log-likelihood, nats, mean ± standard error over the repetitions.", _log_likelihood),
        ("Test RMSE.", _rmse),
        (f"Coverage of the central {' / '.join(f'{100 * level:g}' for level in LEVELS)} % intervals, %.", _coverage),
    ):
        rows = [[*name.split(", "), *(cell(of["methods"][m]) for m in METHODS)] for name, of in record["sets"].items()]
        tables += [title, report.table(header, rows)]
    plan = record["plan"]
    layers = "-".join(map(str, plan["hidden"]))
    about = (
        f"{plan['rows']:,} training rows, {TESTS:,} test rows, hidden layers {layers}, {plan['repetitions']} "
        "repetitions. The signal has mean 0 and standard deviation 1, and the noise is given as its standard deviation."
    )
    return "\n\n".join([about, *tables])


def _log_likelihood(found: dict[str, Any]) -> str:
    return f"{found['log_likelihood']:.2f} ± {found['log_likelihood_se']:.2f}"


def _rmse(found: dict[str, Any]) -> str:
    return f"{found['rmse']:.4f}"


def _coverage(found: dict[str, Any]) -> str:
    return " / ".join(f"{100 * value:.0f}" for value in found["coverage"])


def main(argv: list[str]) -> dict[str, Any]:
    """Print the tables; with --json also write all files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks accuracy smooth", description=str(__doc__))
    report.add_common_options(parser)
    args = backend.parse(parser, argv)
    draw = partial(plot.regression, order=tuple(METHODS))
    if args.redraw:
        return report.redraw(args, as_markdown, draw)
    plan = QUICK if args.quick else Plan()
    parts = report.Parts(args.cache, "smooth", args.seed, asdict(plan))
    sets: dict[str, Any] = {}
    for name in FUNCTIONS:
        for noise in NOISES[:1] if args.quick else NOISES:
            label = f"{name}, {noise:g}"
            run = partial(measure, name, noise, plan=plan, seed=args.seed)
            sets[label] = {"methods": {m: parts(f"{label}: {m}", partial(run, m)) for m in METHODS}}
    record = {"seed": args.seed, "quick": args.quick, "plan": asdict(plan), "sets": sets}
    return report.finish(args, record, as_markdown, draw)
