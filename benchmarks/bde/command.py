"""``python -m benchmarks bde``: the sampled networks of bde beside VIRegressor, on the data in bde's wheel.

Both libraries get the same random splits, and each fit has a process of its own. The methods run in turn on each split,
so that the load of the machine is the same for all. No test row plays a part in a choice.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.accuracy import report as files
from benchmarks.bde import data, processes
from benchmarks.bde.methods import METHODS, QUICK, Method
from benchmarks.bde.report import as_markdown, in_short, picture
from benchmarks.command_line import unknown
from parity_tests import markers

# A fit by the recipe of bde's README takes minutes on bike sharing.
SPLITS = {"airfoil": 5, "concrete": 5, "bike sharing": 3}
PAGE = processes.ROOT / "docs" / "results.md"


def measure(
    name: str,
    environment: processes.Environment,
    parts: files.Parts,
    methods: tuple[Method, ...],
    *,
    count: int,
    seed: int,
) -> dict[str, Any]:
    """Run every method on each split of a set."""
    x, y = data.read(name, environment.package)
    runs: dict[str, list[dict[str, Any]]] = {method.name: [] for method in methods}
    for i, split in enumerate(data.splits(x, y, count=count, seed=seed)):
        for method in methods:
            one = partial(processes.run, method, split, environment, seed=1000 * seed + i)
            # `Parts` adds its own seconds, under the name of those that the process measured.
            found = parts(f"{name}: {method.name}, split {i}", lambda one=one: {"run": one()})
            runs[method.name].append(found["run"])
    return {"rows": len(y), "inputs": x.shape[1], "splits": count, "methods": runs}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks bde", description=str(__doc__))
    files.add_record_options(parser)
    parser.add_argument("--python", type=Path, default=processes.PYTHON, help="a Python that has bde (%(default)s)")
    parser.add_argument("--sets", default="", help=f"names joined by commas (default: {', '.join(data.SOURCES)})")
    parser.add_argument("--splits", type=int, help="number of splits of each set (default 5, for bike sharing 3)")
    parser.add_argument("--seed", type=int, default=0, help="seed of splits and fits (default 0)")
    parser.add_argument("--cache", type=Path, help="folder to keep finished fits in, so that a run can resume")
    parser.add_argument("--readme", action="store_true", help="write the table of docs/results.md")
    return parser


def _sets(args: argparse.Namespace) -> list[str]:
    names = args.sets.split(",") if args.sets else list(data.SOURCES)
    for name in names:
        if name not in data.SOURCES:
            _parser().error(unknown("--sets", "set", name, data.SOURCES))
    if args.splits is not None and args.splits < 1:
        _parser().error(f"Expected --splits to be at least 1; got {args.splits}.")
    return names


def measure_all(args: argparse.Namespace) -> dict[str, Any]:
    """Run the methods on the chosen sets."""
    names, environment = _sets(args), processes.find(args.python)
    methods = QUICK if args.quick else METHODS
    parts = files.Parts(args.cache, args.seed, [repr(method) for method in methods])
    sets = {}
    for name in names:
        count = 1 if args.quick else args.splits or SPLITS[name]
        sets[name] = measure(name, environment, parts, methods, count=count, seed=args.seed)
    return {
        "environment": files.environment(),
        "seed": args.seed,
        "quick": args.quick,
        "versions": _versions(methods, sets),
        "settings": {method.name: method.settings for method in methods},
        "sets": sets,
    }


def _versions(methods: tuple[Method, ...], sets: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Move the versions out of the runs, in which they are all equal."""
    found = {}
    for method in methods:
        for of_set in sets.values():
            for run in of_set["methods"][method.name]:
                found[method.library] = run.pop("versions")
    return found


def main(argv: list[str]) -> dict[str, Any]:
    """Print the tables; with --json also write all files."""
    args = _parser().parse_args(argv)
    if args.redraw:
        record = files.redraw(args, as_markdown, picture)
    else:
        record = files.finish(args, measure_all(args), as_markdown, picture)
    if args.readme:
        markers.write(PAGE, "bde", markers.block("bde", [in_short(record)]))
    return record
