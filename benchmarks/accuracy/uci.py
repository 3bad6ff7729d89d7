"""``python -m benchmarks accuracy uci``: regression on the standard splits, next to the published results.

For each split the hyper-parameters are chosen on a fifth of its training rows by their log-likelihood; then the network
is trained anew on all of them. A test row plays no part in a choice, not even in that of another split.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

import deepuq_jax as dq
from benchmarks.accuracy import plot, published, report
from benchmarks.accuracy.data import RegressionSet, data_dir, load_regression, regression_names
from benchmarks.accuracy.uci_recipe import BAYESIAN_SPACE, HIDDEN, POINT_SPACE, Plan, in_own_units, predict, run
from benchmarks.accuracy.uci_score import LEVELS, Draws, Score, score, summary
from benchmarks.accuracy.uci_splits import VALIDATION_SHARE, Splits, test_splits, validation_splits

# Names of the methods that are run, in the order of the tables.
BAYESIAN, TORCH, DEFAULTS, POINT, ENSEMBLE = "deepuq_jax", "deepuq_torch", "fit, defaults", "deterministic", "ensemble"


def choose(space: tuple[Any, ...], splits: Splits, *, seed: int, plan: Plan) -> tuple[list[Any], np.ndarray]:
    """The choice of each split by its validation log-likelihood, and those scores [choices, splits]."""
    count = len(splits.x)
    scores = np.array(
        [
            [s.log_likelihood for s in score_all(run([choice] * count, splits, seed=seed, plan=plan), splits)]
            for choice in space
        ]
    )
    return [space[i] for i in np.nan_to_num(scores, nan=-np.inf).argmax(axis=0)], scores


def score_all(draws: list[Draws], splits: Splits) -> list[Score]:
    """The score of each split."""
    return [score(draw, y) for draw, y in zip(draws, splits.held_y, strict=True)]


def fit_with_defaults(splits: Splits, *, seed: int, plan: Plan) -> list[Draws]:
    """`fit` with nothing set, one split after the other, on the regressor with learned noise at its defaults."""
    draws, ask = [], jax.jit(predict, static_argnames="draws")
    for i in range(len(splits.x)):
        model_key, fit_key, predict_key = jax.random.split(jax.random.key(1000 * seed + i), 3)
        model = dq.HomoscedasticBayesByBackpropRegressor(splits.x.shape[2], (HIDDEN,), rngs=nnx.Rngs(model_key))
        model = dq.fit(model, splits.x[i], splits.y[i], key=fit_key).model
        mean, var = ask(model, splits.held_x[i], predict_key, draws=plan.draws)
        draws.append(in_own_units(mean, var, splits, i))
    return draws


def measure(data: RegressionSet, *, seed: int, plan: Plan, with_torch: bool) -> dict[str, Any]:
    """Every method on one set: scores, choices, seconds."""
    inner, outer = validation_splits(data, seed=seed), test_splits(data)
    record: dict[str, Any] = {"rows": len(data.y), "inputs": data.x.shape[1], "trained_on": outer.x.shape[1]}
    record |= {"chosen_on": inner.held_x.shape[1], "methods": {}, "choices": {}, "seconds": {}}

    def timed(name: str, run_it: Any) -> Any:
        start = time.perf_counter()
        result = run_it()
        record["seconds"][name] = round(time.perf_counter() - start, 1)
        print(f"{data.name}: {name}, {record['seconds'][name]} s", flush=True)
        return result

    def enter(name: str, draws: list[Draws]) -> None:
        scores = score_all(draws, outer)
        record["methods"][name] = {**summary(scores), "per_split": [s._asdict() for s in scores]}

    chosen, table = timed(f"{BAYESIAN}, choice", lambda: choose(BAYESIAN_SPACE, inner, seed=seed, plan=plan))
    record["choices"][BAYESIAN] = _choices(BAYESIAN_SPACE, chosen, table)
    enter(BAYESIAN, timed(BAYESIAN, lambda: run(chosen, outer, seed=seed, plan=plan)))
    one_member = replace(plan, members=1)
    points, table = timed(f"{POINT}, choice", lambda: choose(POINT_SPACE, inner, seed=seed, plan=one_member))
    record["choices"][POINT] = _choices(POINT_SPACE, points, table)
    members = timed(ENSEMBLE, lambda: run(points, outer, seed=seed, plan=plan))
    enter(POINT, [Draws(draw.mean[:1], draw.var[:1]) for draw in members])
    enter(ENSEMBLE, members)
    enter(DEFAULTS, timed(DEFAULTS, lambda: fit_with_defaults(outer, seed=seed, plan=plan)))
    if with_torch:
        from benchmarks.accuracy import uci_torch

        enter(TORCH, timed(TORCH, lambda: uci_torch.run(chosen, outer, seed=seed, plan=plan)))
    return record


def _choices(space: tuple[Any, ...], chosen: list[Any], scores: np.ndarray) -> dict[str, Any]:
    """For the record: the space, its validation scores, and how many splits took which."""
    counts = Counter(space.index(choice) for choice in chosen)
    return {
        "how": f"validation log-likelihood on {VALIDATION_SHARE:.0%} of each training split, a choice a split",
        "space": [
            {**asdict(choice), "validation_log_likelihood": float(np.mean(row)), "chosen_by_splits": counts[i]}
            for i, (choice, row) in enumerate(zip(space, scores, strict=True))
        ],
    }


def as_markdown(record: dict[str, Any]) -> str:
    """Two tables: scores beside the published ones, and coverages."""
    sets = record["sets"]
    methods = [m for m in (BAYESIAN, TORCH, DEFAULTS, POINT, ENSEMBLE) if any(m in s["methods"] for s in sets.values())]
    pair = lambda s: (
        f"{s['rmse']:.2f} ± {s['rmse_se']:.2f} / {s['log_likelihood']:.2f} ± {s['log_likelihood_se']:.2f}" if s else "-"
    )
    rows = [[name, *(pair(s["methods"].get(m)) for m in methods), *published.cells(name)] for name, s in sets.items()]
    cover = lambda s: " / ".join(f"{100 * value:.1f}" for value in s["coverage"]) if s else "-"
    covered = [[name, *(cover(s["methods"].get(m)) for m in methods)] for name, s in sets.items()]
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


def _measured(name: str, args: argparse.Namespace, folder: Path | None, plan: Plan) -> dict[str, Any]:
    """The record of one set, out of the cache where it is."""
    key = report.fingerprint(name, args.seed, asdict(plan), [repr(c) for c in BAYESIAN_SPACE + POINT_SPACE], args.torch)
    path = None if args.cache is None else args.cache / f"uci-{name}-{key}.json"
    if path is not None and path.exists():
        return json.loads(path.read_text())
    found = measure(load_regression(name, folder), seed=args.seed, plan=plan, with_torch=args.torch)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found))
    return found


def main(argv: list[str]) -> dict[str, Any]:
    """Print the tables; with --json write them and the record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks accuracy uci", description=str(__doc__))
    report.add_options(parser)
    parser.add_argument("--sets", default="", help="names joined by commas (default: every set found)")
    parser.add_argument("--no-torch", dest="torch", action="store_false", help="leave deepuq_torch out")
    args = parser.parse_args(argv)
    folder = data_dir(args.data_dir)
    names = args.sets.split(",") if args.sets else regression_names(folder)
    plan = Plan(steps=500, draws=50) if args.quick else Plan()
    sets = {name: _measured(name, args, folder, plan) for name in names}
    record = {"seed": args.seed, "quick": args.quick, "plan": asdict(plan), "sets": sets}
    markdown = as_markdown(record)
    print(markdown)
    if args.json:
        report.write(args.json, record, markdown, plot.regression(record))
    return record
