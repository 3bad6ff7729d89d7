"""``python -m benchmarks accuracy uci``: regression beside published results.

For each split, hyperparameters are chosen by the log-likelihood on three fifths of its training rows, each held out in
turn. The network then trains anew on all training rows. The test rows of a split play no part in its choice.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import nnx

import deepuq_jax as dq
from benchmarks.accuracy import plot, published, report
from benchmarks.accuracy.data import RegressionSet, data_dir, load_regression, regression_names
from benchmarks.accuracy.uci_recipe import BAYESIAN_SPACE, HIDDEN, POINT_SPACE, Plan, in_own_units, predict, run
from benchmarks.accuracy.uci_score import LEVELS, Draws, Score, score, summary
from benchmarks.accuracy.uci_splits import FOLDS, Splits, test_splits, validation_splits
from benchmarks.command_line import unknown
from parity_tests import backend

# Names of the methods, in the order of the tables.
METHODS = BAYESIAN, TORCH, DEFAULTS, DEFAULTS_OWN_NOISE, UNIT_PRIOR, POINT, ENSEMBLE = (
    "deepuq_jax",
    "deepuq_torch",
    "fit, defaults",
    "fit, defaults, heteroscedastic",
    "fit, prior N(0, 1), heteroscedastic",
    "deterministic",
    "ensemble",
)


def choose(space: tuple[Any, ...], splits: Splits, *, seed: int, plan: Plan) -> dict[str, Any]:
    """Choose for each split by its own mean validation log-likelihood.

    Args:
        space: the candidates.
        splits: the result of `validation_splits`.
        seed: the seed of all random numbers.
        plan: the settings that all trainings share.
    Returns:
        For the record: how the choice was made, the score of each candidate, and the chosen index for each split.
    """
    count = len(splits.x)
    trained = (run([choice] * count, splits, seed=seed, plan=plan) for choice in space)
    scores = np.array([[s.log_likelihood for s in score_all(draws, splits)] for draws in trained])
    scores = scores.reshape(len(space), FOLDS, -1).mean(axis=1)
    chosen = np.nan_to_num(scores, nan=-np.inf).argmax(axis=0)
    counts = Counter(chosen.tolist())
    return {
        "how": f"mean log-likelihood on {FOLDS} fifths of each training split, held out in turn; one choice per split",
        "space": [
            {**asdict(choice), "validation_log_likelihood": float(np.mean(row)), "chosen_by_splits": counts[i]}
            for i, (choice, row) in enumerate(zip(space, scores, strict=True))
        ],
        "chosen": chosen.tolist(),
    }


def score_all(draws: list[Draws], splits: Splits) -> list[Score]:
    """The score of each split."""
    return [score(draw, y) for draw, y in zip(draws, splits.held_y, strict=True)]


# The noise is learned: the same for all inputs, or a function of the input. By default, `fit` trains these networks by
# natural gradients. The prior N(0, 1) was compared with the default on validation parts.
Build = Callable[..., Any]
FITS: dict[str, Build] = {
    DEFAULTS: dq.HomoscedasticBayesByBackpropRegressor,
    DEFAULTS_OWN_NOISE: dq.HeteroscedasticBayesByBackpropRegressor,
    UNIT_PRIOR: partial(dq.HeteroscedasticBayesByBackpropRegressor, prior=dq.GaussianPrior(sigma=1.0)),
}


def fit_with_defaults(build: Build, splits: Splits, *, seed: int, plan: Plan) -> list[Draws]:
    """Run `fit` on each split in turn, with nothing set."""
    draws, predict_jitted = [], jax.jit(predict, static_argnames="draws")
    for i in range(len(splits.x)):
        model_key, fit_key, predict_key = jax.random.split(jax.random.key(1000 * seed + i), 3)
        model = build(splits.x.shape[2], (HIDDEN,), rngs=nnx.Rngs(model_key))
        x, y = splits.x[i], splits.y[i]
        model = dq.fit(model, x, y, key=fit_key).model
        mean, var = predict_jitted(model, splits.held_x[i], predict_key, draws=plan.draws)
        draws.append(in_own_units(mean, var, splits, i))
    return draws


def measure(data: RegressionSet, parts: report.Parts, *, seed: int, plan: Plan, with_torch: bool) -> dict[str, Any]:
    """Run every method on a set; return scores, choices and seconds."""
    inner, outer = validation_splits(data, seed=seed), test_splits(data)
    options: dict[str, Any] = dict(seed=seed, plan=plan)

    def part(name: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        return parts(f"{data.name}: {name}", run)

    bayesian = part(f"choice, {BAYESIAN}", lambda: choose(BAYESIAN_SPACE, inner, **options))
    chosen = [BAYESIAN_SPACE[i] for i in bayesian["chosen"]]
    methods = {BAYESIAN: part(BAYESIAN, lambda: _scored(run(chosen, outer, **options), outer))}
    point = part(f"choice, {POINT}", lambda: choose(POINT_SPACE, inner, seed=seed, plan=replace(plan, members=1)))
    points = [POINT_SPACE[i] for i in point["chosen"]]
    both = part(ENSEMBLE, lambda: _point_and_ensemble(run(points, outer, **options), outer))
    methods |= {POINT: both[POINT], ENSEMBLE: both[ENSEMBLE]}
    methods |= fits(data.name, outer, parts, **options)
    if with_torch:
        from benchmarks.accuracy import uci_torch

        methods[TORCH] = part(TORCH, lambda: _scored(uci_torch.run(chosen, outer, **options), outer))
    return {
        "rows": len(data.y),
        "inputs": data.x.shape[1],
        "trained_on": outer.x.shape[1],
        "chosen_on": inner.held_x.shape[1],
        "methods": methods,
        "choices": {BAYESIAN: bayesian, POINT: point},
    }


def fits(data_name: str, splits: Splits, parts: report.Parts, *, seed: int, plan: Plan) -> dict[str, Any]:
    """Run the methods of the columns `fit, ...`."""

    def scored(build: Build) -> dict[str, Any]:
        return _scored(fit_with_defaults(build, splits, seed=seed, plan=plan), splits)

    return {name: parts(f"{data_name}: {name}", partial(scored, build)) for name, build in FITS.items()}


def _scored(draws: list[Draws], splits: Splits) -> dict[str, Any]:
    scores = score_all(draws, splits)
    return {**summary(scores), "per_split": [s._asdict() for s in scores]}


def _point_and_ensemble(members: list[Draws], splits: Splits) -> dict[str, Any]:
    """Score the first member alone, and the mixture of all members."""
    first = [Draws(draw.mean[:1], draw.var[:1]) for draw in members]
    return {POINT: _scored(first, splits), ENSEMBLE: _scored(members, splits)}


def as_markdown(record: dict[str, Any]) -> str:
    """Two tables: scores beside the published ones, and coverages."""
    sets = record["sets"]
    methods = [m for m in METHODS if any(m in s["methods"] for s in sets.values())]
    rows = [[name, *(_pair(s["methods"].get(m)) for m in methods), *published.cells(name)] for name, s in sets.items()]
    covered = [[name, *(_coverage(s["methods"].get(m)) for m in methods)] for name, s in sets.items()]
    levels = " / ".join(f"{100 * level:g}" for level in LEVELS)
    return "\n\n".join(
        [
            "Test RMSE / log-likelihood per example in nats, in the target's units, mean ± standard error over splits.",
            report.table(["set", *methods, *published.COLUMNS], rows),
            f"Coverage of the central {levels} % intervals of the predictive mixture, %.",
            report.table(["set", *methods], covered),
            published.SOURCES,
        ]
    )


def _pair(scores: dict[str, Any] | None) -> str:
    if scores is None:
        return "-"
    rmse = f"{scores['rmse']:.2f} ± {scores['rmse_se']:.2f}"
    return f"{rmse} / {scores['log_likelihood']:.2f} ± {scores['log_likelihood_se']:.2f}"


def _coverage(scores: dict[str, Any] | None) -> str:
    return "-" if scores is None else " / ".join(f"{100 * value:.1f}" for value in scores["coverage"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks accuracy uci", description=str(__doc__))
    report.add_options(parser)
    parser.add_argument("--sets", default="", help="names joined by commas (default: every set found)")
    parser.add_argument("--no-torch", dest="torch", action="store_false", help="leave deepuq_torch out")
    return parser


def _chosen_sets(args: argparse.Namespace, known: Collection[str]) -> list[str]:
    """The names in --sets, or every known name.

    An unknown name ends the program with exit code 2.
    """
    names = args.sets.split(",") if args.sets else list(known)
    for name in names:
        if name not in known:
            _parser().error(unknown("--sets", "set", name, known))
    return names


def main(argv: list[str]) -> dict[str, Any]:
    """Print the tables; with --json also write all files."""
    args = backend.parse(_parser(), argv)
    if args.redraw:
        return report.redraw(args, as_markdown, partial(plot.regression, order=METHODS))
    folder = data_dir(args.data_dir)
    plan = Plan(steps=500, draws=50) if args.quick else Plan()
    # The keys of the cache do not depend on the defaults of `fit`, so --fit-only ignores the cache.
    cache = None if args.fit_only else args.cache
    parts = report.Parts(cache, args.seed, asdict(plan), [repr(choice) for choice in BAYESIAN_SPACE + POINT_SPACE])
    options: dict[str, Any] = dict(seed=args.seed, plan=plan)
    if args.fit_only:
        record = report.earlier(args)
        for name in _chosen_sets(args, record["sets"]):
            splits = test_splits(load_regression(name, folder))
            record["sets"][name]["methods"] |= fits(name, splits, parts, **options)
    else:
        options["with_torch"] = args.torch
        names = _chosen_sets(args, regression_names(folder))
        sets = {name: measure(load_regression(name, folder), parts, **options) for name in names}
        record = {"seed": args.seed, "quick": args.quick, "plan": asdict(plan), "sets": sets}
    return report.finish(args, record, as_markdown, partial(plot.regression, order=METHODS))
