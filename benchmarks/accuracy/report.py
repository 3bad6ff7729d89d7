"""The files of a run: a JSON record, and beside it a Markdown table and a PNG."""

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
from parity_tests import backend

AsMarkdown = Callable[[dict[str, Any]], str]
Draw = Callable[[dict[str, Any]], Any]


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
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def units_and_epochs(row: dict[str, Any]) -> tuple[str, str]:
    """Hidden units and epochs of an MNIST network, as text.

    Epochs are "default" for a row of `fit` whose number of epochs was not set.

    >>> units_and_epochs({"recipe": {"hidden": 400, "epochs": 20}}), units_and_epochs({"hidden": 400})
    (('400', '20'), ('400', 'default'))
    """
    recipe = row.get("recipe", row)
    return str(recipe["hidden"]), str(recipe.get("epochs", "default"))


def add_record_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a benchmark that writes a record, its tables and its picture."""
    parser.add_argument("--json", type=Path, help="write the record here, and beside it the tables and a picture")
    parser.add_argument("--plot", type=Path, help="draw the picture here; the ending says in which format")
    parser.add_argument(
        "--redraw", action="store_true", help="write tables and picture of --json's record; run nothing"
    )
    parser.add_argument("--quick", action="store_true", help="a short run, to see that everything works")


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that the benchmarks of accuracy share."""
    parser.add_argument("--data-dir", type=Path, help="folder of the data (default: $DEEPUQ_DATA, else from OpenML)")
    add_record_options(parser)
    backend.add_option(parser)
    parser.add_argument("--seed", type=int, default=0, help="seed of all random numbers (default 0)")
    parser.add_argument("--cache", type=Path, help="folder to keep finished parts in, so that a run can resume")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the common options and --fit-only."""
    add_common_options(parser)
    parser.add_argument(
        "--fit-only", action="store_true", help="repeat only the methods named `fit, ...` in the record at --json"
    )


def earlier(args: argparse.Namespace) -> dict[str, Any]:
    """Read the record at --json without its environment, to put scores into it.

    Raises:
        SystemExit: if there is no record, or its seed or `quick` differs from the arguments.
    """
    if args.json is None or not args.json.exists():
        raise SystemExit(f"Expected --json of a whole run; got {args.json}.")
    record = json.loads(args.json.read_text(encoding="utf-8"))
    if (record["seed"], record["quick"]) != (args.seed, args.quick):
        raise SystemExit(f"Expected a record of seed {args.seed}, quick {args.quick}; got {args.json}.")
    record.pop("environment")
    return record


def fingerprint(*parts: Any) -> str:
    """A name for a file, determined by the parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


class Parts:
    """The parts of a run, each kept in a file.

    Args:
        folder: the folder of these files; None keeps nothing.
        key: everything on which the parts depend.
    """

    def __init__(self, folder: Path | None, *key: Any):
        self.folder, self.key = folder, fingerprint(*key)

    def __call__(self, name: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the kept result of a part, or else run it.

        The result includes the seconds that the run took.
        """
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
    """Write the record, the table and the picture.

    The record goes to `path`; the table (.md) and the picture (.png) stand beside it.
    """
    _write_record(path, record)
    _write_table(path, markdown)
    _save_picture(path.with_suffix(".png"), figure)


def finish(args: argparse.Namespace, record: dict[str, Any], as_markdown: AsMarkdown, draw: Draw) -> dict[str, Any]:
    """Print the tables of a run, and write what --json and --plot ask for.

    Returns:
        The record.
    """
    if args.json:
        _write_record(args.json, record)
    return show(args, record, as_markdown, draw)


def redraw(args: argparse.Namespace, as_markdown: AsMarkdown, draw: Draw) -> dict[str, Any]:
    """Write table and picture of the record at --json, and the picture at --plot.

    Returns:
        The record.
    Raises:
        SystemExit: if there is no such file.
    """
    if args.json is None or not args.json.exists():
        raise SystemExit(f"Expected --json to be a file that exists with --redraw; got {args.json}.")
    return show(args, json.loads(args.json.read_text(encoding="utf-8")), as_markdown, draw)


def show(args: argparse.Namespace, record: dict[str, Any], as_markdown: AsMarkdown, draw: Draw) -> dict[str, Any]:
    """Print the tables of a record, and write them and the picture beside --json, and the picture to --plot.

    Returns:
        The record.
    """
    markdown, pictures = as_markdown(record), []
    print(markdown)
    if args.json:
        _write_table(args.json, markdown)
        pictures.append(args.json.with_suffix(".png"))
    if args.plot:
        pictures.append(args.plot)
    if pictures:
        figure = draw(record)
        for path in pictures:
            _save_picture(path, figure)
    return record


def _write_record(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"environment": environment(), **record}, indent=1) + "\n")


def _write_table(path: Path, markdown: str) -> None:
    path.with_suffix(".md").write_text(markdown + "\n")


def _save_picture(path: Path, figure: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
