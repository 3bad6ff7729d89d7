"""``python -m benchmarks speed``: time every contestant on every workload.

--json also writes the figures and the full table to files, --readme the tables of the pages, and --plot the picture.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.command_line import unknown
from benchmarks.speed import contestants, environment, gpu, limits, memory, plot, results, summary, table
from benchmarks.speed.contestant import Contestant, Setting
from benchmarks.speed.measure import measure
from benchmarks.speed.workloads import ON_GPU, QUICK, WORKLOADS, Workload
from parity_tests import backend as backends

ROUNDS, QUICK_ROUNDS = 11, 3
# A quick look leaves out the variants that take longest to compile.
SLOW_TO_COMPILE = ("compiled", "flipout", "local reparameterization")


def main(argv: list[str]) -> dict[str, Any]:
    """Run the command, and return the figures as in a result file."""
    args = _arguments(argv)
    if args.redraw:
        measured = results.read(args.json)
        _show(measured, args)
        return measured
    backend = args.backend or backends.detect()
    works = _workloads(args, backend)
    if backend == "gpu" and args.precision is None:
        gpu.run_modes(_passed_on(argv))
        return {"workloads": {}}
    setting = Setting(backend, args.precision or "float32")
    environment.apply(setting)
    environment.compile_anew()
    if args.fill_memory:
        measured = _fill_memory(args, setting)
        _show(measured, args)
        return measured
    found, absent = contestants.present()
    chosen = _chosen(found, absent, args)
    for package in absent:
        print(f"skipped: {package} is not installed", file=sys.stderr)
    machine = limits.measure_machine()
    measured: dict[str, Any] = {"workloads": {}}
    for work in works:
        part = _measure(work, chosen, setting, machine, args)
        measured["workloads"][work.name] = {**part, "absent": absent}
        if args.json:  # after each workload, so that a later failure loses nothing
            results.merge(args.json, {work.name: measured["workloads"][work.name]})
    _show(measured, args)
    return measured


def _parser() -> argparse.ArgumentParser:
    names = "\n".join(["workloads:", *(f"  {work.name}" for work in WORKLOADS)])
    names += "\n".join(["\non a GPU also:", *(f"  {work.name}" for work in ON_GPU)])
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks speed",
        description=__doc__,
        epilog=names,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    backends.add_option(parser)
    parser.add_argument(
        "--precision", choices=environment.PRECISIONS, help="default: float32; on a GPU each in turn, see speed/gpu.py"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="workloads whose name holds this, e.g. 784-400")
    parser.add_argument(
        "--contestants", default="", metavar="TEXT,...", help="contestants whose name holds any of these"
    )
    parser.add_argument("--rounds", type=int, help=f"timed calls of each contestant (default {ROUNDS})")
    parser.add_argument("--quick", action="store_true", help="the small network, few rounds: under two minutes")
    parser.add_argument("--memory", action="store_true", help="measure peak memory too: one process per row, slow")
    parser.add_argument(
        "--fill-memory", action="store_true", help="measure peak memory for the rows of --json without it; time nothing"
    )
    parser.add_argument("--redraw", action="store_true", help="measure nothing; write what --json's file holds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="put the figures into this file, by workload")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the figures, those of --json's file if given")
    parser.add_argument("--readme", action="store_true", help="put the tables of --json's file into their pages")
    return parser


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = _parser()
    args = parser.parse_args(argv)
    if args.rounds is not None and args.rounds < 1:
        parser.error(f"Expected --rounds to be positive; got {args.rounds}.")
    for option in ("readme", "fill_memory", "redraw"):
        if getattr(args, option) and not args.json:
            parser.error(f"Expected --json with --{option.replace('_', '-')}; got none.")
    if (args.redraw or args.fill_memory) and not args.json.exists():
        parser.error(f"Expected --json to be a file that exists; got {args.json}.")
    args.rounds = args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS)
    return args


def _passed_on(argv: list[str]) -> list[str]:
    """Drop --backend, which every mode sets, from the arguments."""
    keep, skip = [], False
    for argument in argv:
        if not skip and not argument.startswith("--backend"):
            keep.append(argument)
        skip = argument == "--backend"
    return keep


def _workloads(args: argparse.Namespace, backend: str) -> list[Workload]:
    """The workloads that --only chooses."""
    every = QUICK if args.quick else WORKLOADS
    if backend == "gpu" and not args.quick:
        every = (*WORKLOADS, *ON_GPU)
    if args.fill_memory:
        _refuse_unknown("--only", "workload", [args.only], list(results.read(args.json)["workloads"]))
    else:
        _refuse_unknown("--only", "workload", [args.only], [work.name for work in every])
    return [work for work in every if args.only in work.name]


def _chosen(found: list[Contestant], absent: list[str], args: argparse.Namespace) -> list[Contestant]:
    """The contestants that --contestants chooses.

    The option may also name absent packages, if something to time is left.
    """
    known = [*(contestant.name for contestant in found), *absent]
    _refuse_unknown("--contestants", "contestant", args.contestants.split(","), known)
    chosen = [c for c in found if _is_chosen(c.name, args)]
    if args.quick:
        chosen = [c for c in chosen if not any(word in c.variant for word in SLOW_TO_COMPILE)]
    if not chosen:
        _parser().error(
            f"Expected --contestants to leave something to time; got {args.contestants}: not installed, or left out by "
            "--quick."
        )
    return chosen


def _is_chosen(name: str, args: argparse.Namespace) -> bool:
    return any(word in name for word in args.contestants.split(","))


def _refuse_unknown(option: str, kind: str, given: list[str], known: list[str]) -> None:
    """Refuse a text that is part of no known name.

    The program ends with exit code 2.
    """
    for text in given:
        if not any(text in name for name in known):
            _parser().error(unknown(option, kind, text, known))


def _measure(
    work: Workload, chosen: list[Contestant], setting: Setting, machine: limits.Machine, args: argparse.Namespace
) -> dict[str, Any]:
    print(work.name, file=sys.stderr)
    rows = measure(work, chosen, setting, args.rounds, log=_log)
    if args.memory:
        for row in results.timed({"rows": rows}):
            row["memory"] = memory.peak(work.name, row["contestant"], setting)
    return {
        "environment": environment.describe(setting),
        "machine": asdict(machine),
        "limits": limits.record(work, machine),
        "rounds": args.rounds,
        "rows": rows,
    }


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _fill_memory(args: argparse.Namespace, setting: Setting) -> dict[str, Any]:
    """Measure the missing peaks of memory, each in its own process.

    Each peak is written at once, so that a later failure loses nothing.
    """
    data = results.read(args.json)
    names = [row["contestant"] for part in data["workloads"].values() for row in part["rows"]]
    _refuse_unknown("--contestants", "contestant", args.contestants.split(","), names)
    for name, part in data["workloads"].items():
        for row in results.timed(part) if args.only in name else ():
            if not row.get("memory") and _is_chosen(row["contestant"], args):
                row["memory"] = memory.peak(name, row["contestant"], setting)
                _log(f"{name}: {row['contestant']}")
                results.merge(args.json, {name: part})
    return data


def _show(measured: dict[str, Any], args: argparse.Namespace) -> None:
    """Print the full table, and write the requested files."""
    print(table.full(measured))
    data = results.read(args.json) if args.json else measured
    if args.json:
        args.json.with_suffix(".md").write_text(table.full(data), encoding="utf-8")
    if args.plot:
        plot.draw(data, args.plot)
    if args.readme:
        summary.write(data)
