"""``python -m benchmarks compare BEFORE AFTER``: what changed between two result files, beyond noise.

Both are files of `speed --json`, or both are records of `accuracy uci` or `accuracy tabular`. The rows are compared
jointly: if nothing changed, the probability that any row is reported as changed is about 5 %. The exit code is 0 if no
row is worse, 1 if a row is worse, and 2 if the files cannot be compared or a name is unknown.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.command_line import unknown
from benchmarks.compare import accuracy, speed
from benchmarks.compare.change import as_record, as_text
from benchmarks.speed import results


def main(argv: list[str]) -> None:
    """Run the command.

    Raises:
        SystemExit: with code 1 if a row is worse beyond noise, with code 2 for unusable arguments.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    before, after = (_read(parser, path) for path in (args.before, args.after))
    if ("workloads" in before) != ("workloads" in after):
        parser.error(f"Expected two files of the same benchmark; got {args.before} and {args.after}.")
    is_speed = "workloads" in before
    groups, members = _names(before) if is_speed else accuracy.names(before)
    methods = args.methods.split(",")
    _refuse_unknown(parser, "--only", "workload or data set", [args.only], groups)
    _refuse_unknown(parser, "--methods", "contestant or method", methods, members)

    def is_chosen(group: str, member: str) -> bool:
        return args.only in group and any(word in member for word in methods)

    comparison = (speed if is_speed else accuracy).compare(before, after, is_chosen)
    if not comparison.changes:
        parser.error(f"Expected {args.after} to have rows of {args.before}; got none that both have.")
    print(as_text(comparison, every=args.all))
    if args.json:
        args.json.write_text(json.dumps(as_record(comparison), indent=1) + "\n", encoding="utf-8")
    if comparison.is_worse:
        sys.exit(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path, metavar="BEFORE", help="the earlier result file")
    parser.add_argument("after", type=Path, metavar="AFTER", help="the later result file")
    parser.add_argument("--only", default="", metavar="TEXT", help="workloads or data sets whose name holds this")
    parser.add_argument(
        "--methods", default="", metavar="TEXT,...", help="contestants or methods whose name holds any of these"
    )
    parser.add_argument("--all", action="store_true", help="list the rows within noise, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every row into this file, too")
    return parser


def _read(parser: argparse.ArgumentParser, path: Path) -> dict[str, Any]:
    """Read a result file, or end the program with code 2."""
    if not path.is_file():
        parser.error(f"Expected a result file; got {path}, which is no file.")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        parser.error(f"Expected a result file, in JSON; got {path}.")
    if not isinstance(found, dict) or not ("workloads" in found or accuracy.names(found)[0]):
        parser.error(f"Expected the file of a benchmark with errors (speed, uci, tabular); got {path}.")
    return found


def _names(data: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return the names of the workloads and of the contestants with times."""
    rows = [row["contestant"] for part in data["workloads"].values() for row in results.timed(part)]
    return list(data["workloads"]), list(dict.fromkeys(rows))


def _refuse_unknown(
    parser: argparse.ArgumentParser, option: str, kind: str, given: list[str], known: list[str]
) -> None:
    """Refuse a text that is part of no known name, and list the nearest names."""
    for text in given:
        if not any(text in name for name in known):
            parser.error(unknown(option, kind, text, known))
