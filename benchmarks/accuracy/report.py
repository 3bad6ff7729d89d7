"""What every run writes: JSON with its circumstances, a Markdown table, a plot, beside each other."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import flax
import jax
import numpy as np

import deepuq_jax as dq


def environment() -> dict[str, Any]:
    """Versions and machine, for the record."""
    return {
        "device": str(jax.devices()[0].device_kind),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "flax": flax.__version__,
        "optax": version("optax"),
        "numpy": np.__version__,
        "deepuq_jax": dq.__version__,
    }


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table.

    >>> print(table(["a", "b"], [["1", "2"]]))
    | a | b |
    | --- | --- |
    | 1 | 2 |
    """
    line = lambda cells: "| " + " | ".join(cells) + " |"
    return "\n".join([line(header), line(["---"] * len(header)), *map(line, rows)])


def units_and_epochs(row: dict[str, Any]) -> tuple[str, str]:
    """Of a network on MNIST: those of its recipe, or the units and that all else was left at `fit`'s defaults.

    >>> units_and_epochs({"recipe": {"hidden": 400, "epochs": 20}}), units_and_epochs({"hidden": 400})
    (('400', '20'), ('400', 'default'))
    """
    recipe = row.get("recipe", row)
    return str(recipe["hidden"]), str(recipe.get("epochs", "default"))


def add_options(parser: argparse.ArgumentParser) -> None:
    """What both benchmarks take."""
    parser.add_argument("--data-dir", type=Path, help="folder of the data (default: $DEEPUQ_DATA, else from OpenML)")
    parser.add_argument("--json", type=Path, help="write the record here, and beside it the table and a plot")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (default 0)")
    parser.add_argument("--quick", action="store_true", help="a short run, to see that all works")
    parser.add_argument(
        "--fit-only", action="store_true", help="run `fit` with nothing set, and put it into the record at --json"
    )
    parser.add_argument("--cache", type=Path, help="folder to keep finished parts in: a run goes on where one stopped")


def earlier(args: argparse.Namespace) -> dict[str, Any]:
    """The record at --json without its environment, for --fit-only.

    Raises:
        SystemExit: there is none, or it is of another seed or length.
    """
    if args.json is None or not args.json.exists():
        raise SystemExit(f"Expected --json of a whole run with --fit-only; got {args.json}.")
    record = json.loads(args.json.read_text(encoding="utf-8"))
    if (record["seed"], record["quick"]) != (args.seed, args.quick):
        raise SystemExit(f"Expected a record of seed {args.seed}, quick {args.quick}; got {args.json}.")
    record.pop("environment")
    return record


def fingerprint(*parts: Any) -> str:
    """A name for a file: the same for the same parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


class Parts:
    """Parts of a run, each kept in a file of its own as soon as it is done, where a folder is given.

    Args:
        folder: where; None keeps nothing.
        key: of all that the parts depend on.
    """

    def __init__(self, folder: Path | None, *key: Any):
        self.folder, self.key = folder, fingerprint(*key)

    def __call__(self, name: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `run` returns, with the seconds it took; or what is kept of it."""
        path = None if self.folder is None else self.folder / f"{fingerprint(name, self.key)}.json"
        if path is not None and path.exists():
            return json.loads(path.read_text())
        start = time.perf_counter()
        found = {**run(), "seconds": round(time.perf_counter() - start, 1)}
        print(f"{name}: {found['seconds']} s", flush=True)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(found))
        return found


def write(path: Path, record: dict[str, Any], markdown: str, figure: Any) -> None:
    """The record to `path`, and beside it the table as .md and the plot as .png."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"environment": environment(), **record}, indent=1) + "\n")
    path.with_suffix(".md").write_text(markdown + "\n")
    figure.savefig(path.with_suffix(".png"), dpi=120)
