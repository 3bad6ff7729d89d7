"""``python -m benchmarks accuracy tabular``: tabular sets beside methods of scikit-learn.

Each file `tabular/*.npz` of the data folder is a classification set and each file `uci/*.npz` a regression set, with
`x` [n, d], `y` [n] and `test_index` [splits, n_test]. `fit` runs with nothing set. No test row plays a part in a
choice.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import sklearn

from benchmarks.accuracy import report, tabular_methods, tabular_peers, tabular_score
from benchmarks.accuracy.data import (
    DataSet,
    classification_names,
    data_dir,
    load_classification,
    load_regression,
    regression_names,
)
from benchmarks.accuracy.tabular_data import checksum, labelled_splits, real_splits
from benchmarks.accuracy.tabular_methods import QUICK, Found, Plan
from benchmarks.accuracy.tabular_plot import picture
from benchmarks.accuracy.tabular_report import as_markdown
from benchmarks.command_line import unknown
from parity_tests import backend

SPLITS, QUICK_SPLITS = 5, 2


class Runner(NamedTuple):
    """A method, or several methods that share trainings.

    Attributes:
        name: identifies the runner in the cache and in the lines of progress.
        run: (split, seed, plan) -> Found.
        most_rows: the largest number of training rows for which the method is run; None for any number.
        is_fit: whether the method is `fit` with nothing set, which --fit-only repeats.
    """

    name: str
    run: Callable[[Any, int, Plan], Found]
    most_rows: int | None = None
    is_fit: bool = False


class Kind(NamedTuple):
    """A kind of sets: its names, loader, splits, score and methods."""

    names: Callable[[Path], list[str]]
    load: Callable[[str, Path], DataSet]
    splits: Callable[[Any, int], Iterator[Any]]
    score: Callable[[Any, Any], dict[str, Any]]
    runners: tuple[Runner, ...]


# The time of a Gaussian process grows with the cube of the number of rows, and in classification each class needs its
# own process. So Gaussian processes run on smaller sets only.
KINDS = {
    "classification": Kind(
        classification_names,
        load_classification,
        labelled_splits,
        tabular_score.of_probabilities,
        (
            Runner(tabular_methods.FIT, tabular_methods.fit_classifier, is_fit=True),
            Runner(tabular_methods.TUNED, tabular_methods.tuned_classifier),
            Runner(tabular_peers.ENSEMBLE, tabular_peers.network_classifiers),
            Runner(tabular_peers.LOGISTIC, tabular_peers.logistic_regression),
            Runner(tabular_peers.PROCESS, tabular_peers.process_classifier, most_rows=1_000),
            Runner(tabular_peers.FOREST, tabular_peers.forest_classifier),
        ),
    ),
    "regression": Kind(
        regression_names,
        load_regression,
        real_splits,
        tabular_score.of_draws,
        (
            Runner(tabular_methods.FIT, tabular_methods.fit_homoscedastic, is_fit=True),
            Runner(tabular_methods.FIT_OWN_NOISE, tabular_methods.fit_heteroscedastic, is_fit=True),
            Runner(tabular_methods.TUNED, tabular_methods.tuned_regressor),
            Runner(tabular_peers.ENSEMBLE, tabular_peers.network_regressors),
            Runner(tabular_peers.RIDGE, tabular_peers.ridge_regression),
            Runner(tabular_peers.PROCESS, tabular_peers.process_regressor, most_rows=2_000),
            Runner(tabular_peers.FOREST, tabular_peers.forest_regressor),
        ),
    ),
}


def measure(
    kind: Kind, data: DataSet, parts: report.Parts, *, splits: int, seed: int, plan: Plan, without: list[str]
) -> dict[str, Any]:
    """Run every method on a set, except those left out."""
    rows = data.train_index().shape[1]
    left_out = {
        runner.name: f"it is run up to {runner.most_rows:,} training rows"
        for runner in kind.runners
        if runner.most_rows is not None and rows > runner.most_rows
    }
    runners = [runner for runner in kind.runners if runner.name not in (*left_out, *without)]
    return {
        "rows": len(data.y),
        "inputs": data.x.shape[1],
        "trained_on": rows,
        "splits": min(splits, len(data.test_index)),
        "methods": run(kind, runners, data, parts, splits=splits, seed=seed, plan=plan),
        "left_out": left_out,
    }


def run(
    kind: Kind, runners: list[Runner], data: DataSet, parts: report.Parts, *, splits: int, seed: int, plan: Plan
) -> dict[str, Any]:
    """Run some methods on the first splits of a set, and return their scores by name."""
    methods = {}
    for runner in runners:
        found = []
        # The splits run in turn, so that each can reuse the programs that were compiled for the first.
        for i, split in enumerate(kind.splits(data, splits)):
            scored = partial(_scored, kind, runner, split, seed=1000 * seed + i, plan=plan)
            found.append(parts(f"{data.name}: {runner.name}, split {i}", scored))
        seconds = [part["seconds"] for part in found]
        notes = [part["notes"] for part in found]
        for name in found[0]["scores"]:
            scores = tabular_score.over_splits([part["scores"][name] for part in found])
            methods[name] = scores | {"seconds": seconds, "notes": notes}
    return methods


def _scored(kind: Kind, runner: Runner, split: Any, *, seed: int, plan: Plan) -> dict[str, Any]:
    found = runner.run(split, seed, plan)
    scores = {name: kind.score(prediction, split.test_y) for name, prediction in found.predictions.items()}
    return {"scores": scores, "notes": found.notes}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks accuracy tabular", description=str(__doc__))
    report.add_options(parser)
    parser.add_argument("--sets", default="", help="names joined by commas (default: every set found)")
    names = sorted({runner.name for kind in KINDS.values() for runner in kind.runners})
    parser.add_argument(
        "--without", action="append", default=[], choices=names, metavar="METHOD", help="leave a method out"
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=names,
        metavar="METHOD",
        help="run this method on the sets and splits of the record at --json, and put its scores into the record",
    )
    parser.add_argument("--splits", type=int, help=f"number of splits of each set (default {SPLITS})")
    return parser


def _chosen_sets(args: argparse.Namespace, known: dict[str, list[str]], folder: Path | None) -> dict[str, list[str]]:
    """The names in --sets, or all names, by kind.

    An unknown name ends the program with exit code 2.
    """
    names = args.sets.split(",") if args.sets else []
    every = [name for of_kind in known.values() for name in of_kind]
    if not every:
        _parser().error(f"Expected tabular/*.npz or uci/*.npz in --data-dir; got none in {folder}.")
    for name in names:
        if name not in every:
            _parser().error(unknown("--sets", "set", name, every))
    if names:
        return {kind: [name for name in of_kind if name in names] for kind, of_kind in known.items()}
    return known


def _smallest(kind: Kind, names: list[str], folder: Path) -> list[str]:
    sizes = {name: kind.load(name, folder).x.size for name in names}
    return sorted(names, key=lambda name: sizes[name])[:1]


def _folder(args: argparse.Namespace) -> Path:
    folder = data_dir(args.data_dir)
    if folder is None:
        _parser().error("Expected --data-dir, a folder with tabular/*.npz or uci/*.npz; got none.")
    return folder


def measure_all(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run every method on the chosen sets; with --quick and no --sets, on the smallest set of each kind."""
    plan = QUICK if args.quick else Plan()
    splits = args.splits
    if splits is None:
        splits = QUICK_SPLITS if args.quick else SPLITS
    chosen = _chosen_sets(args, {name: kind.names(folder) for name, kind in KINDS.items()}, folder)
    record: dict[str, Any] = {"seed": args.seed, "quick": args.quick, "plan": asdict(plan)}
    record["scikit_learn"] = sklearn.__version__
    for name, kind in KINDS.items():
        names = _smallest(kind, chosen[name], folder) if args.quick and not args.sets else chosen[name]
        record[name] = {}
        for set_name in names:
            data = kind.load(set_name, folder)
            parts = _parts(args.cache, name, data, args.seed, plan)
            record[name][set_name] = measure(
                kind, data, parts, splits=splits, seed=args.seed, plan=plan, without=args.without
            )
    return record


def repeat_fits(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run `fit` with nothing set on the sets of the record at --json, and replace its scores there."""
    # The cache cannot see changes of the defaults of `fit`.
    return _into_record(args, folder, None, lambda runner: runner.is_fit)


def add_methods(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run the methods in --only on the sets of the record at --json, and put their scores there."""
    return _into_record(args, folder, args.cache, lambda runner: runner.name in args.only)


def _into_record(
    args: argparse.Namespace, folder: Path, cache: Path | None, is_chosen: Callable[[Runner], bool]
) -> dict[str, Any]:
    record = report.earlier(args)
    plan = QUICK if args.quick else Plan()
    chosen = _chosen_sets(args, {name: list(record[name]) for name in KINDS}, args.json)
    for name, kind in KINDS.items():
        for set_name in chosen[name]:
            found, data = record[name][set_name], kind.load(set_name, folder)
            runners = [runner for runner in kind.runners if is_chosen(runner) and runner.name not in found["left_out"]]
            parts = _parts(cache, name, data, args.seed, plan)
            found["methods"] |= run(kind, runners, data, parts, splits=found["splits"], seed=args.seed, plan=plan)
    return record


def _parts(cache: Path | None, kind: str, data: DataSet, seed: int, plan: Plan) -> report.Parts:
    return report.Parts(cache, kind, seed, asdict(plan), sklearn.__version__, checksum(data))


def main(argv: list[str]) -> dict[str, Any]:
    """Print the tables; with --json also write all files."""
    args = backend.parse(_parser(), argv)
    if args.redraw:
        return report.redraw(args, as_markdown, picture)
    if args.splits is not None and args.splits < 1:
        _parser().error(f"Expected --splits to be at least 1; got {args.splits}.")
    measured = measure_all
    if args.fit_only:
        measured = repeat_fits
    elif args.only:
        measured = add_methods
    record = measured(args, _folder(args))
    return report.finish(args, record, as_markdown, picture)
