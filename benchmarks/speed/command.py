"""`python -m benchmarks speed`: measure, print, and where asked write the figures, the tables and the picture."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.speed import contestants, environment, gpu, limits, memory, plot, results, summary, table
from benchmarks.speed.contestant import Contestant, Setting
from benchmarks.speed.measure import measure
from benchmarks.speed.workloads import ON_GPU, QUICK, WORKLOADS, Workload

ROUNDS, QUICK_ROUNDS = 11, 3
# Left out of a quick look: what takes longest to compile.
SLOW_TO_COMPILE = ("compiled", "flipout", "local reparameterization")


def main(argv: list[str]) -> dict[str, Any]:
    """Run the command; return what it measured, as a result file holds it."""
    args = _arguments(argv)
    backend = args.backend or environment.detect()
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
    chosen = _chosen(found, args)
    for package in absent:
        print(f"skipped: {package} is not installed", file=sys.stderr)
    works = _workloads(args, backend)
    machine = limits.measure_machine()
    measured: dict[str, Any] = {"workloads": {}}
    for work in works:
        part = _measure(work, chosen, setting, machine, args)
        measured["workloads"][work.name] = {**part, "absent": absent}
        if args.json:  # after each, so that what was measured is not lost to what comes later
            results.merge(args.json, {work.name: measured["workloads"][work.name]})
    _show(measured, args)
    return measured


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks speed", description=__doc__)
    parser.add_argument("--backend", choices=("cpu", "gpu"), help="default: the GPU where JAX finds one")
    parser.add_argument(
        "--precision", choices=environment.PRECISIONS, help="default: float32; on a GPU each in turn, see speed/gpu.py"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="workloads whose name holds this, e.g. 784-400")
    parser.add_argument("--contestants", default="", metavar="TEXT,...", help="those whose name holds one of these")
    parser.add_argument("--rounds", type=int, help=f"timed calls of each contestant (default {ROUNDS})")
    parser.add_argument("--quick", action="store_true", help="the small network, few rounds: under two minutes")
    parser.add_argument("--memory", action="store_true", help="peak memory too: a process for each row, slow")
    parser.add_argument(
        "--fill-memory",
        action="store_true",
        help="peak memory of the rows in --json's file that have none; no times",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="put the figures into this file, by workload")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the figures, those in --json's file if given")
    parser.add_argument("--readme", action="store_true", help="put the table of --json's file into both READMEs")
    args = parser.parse_args(argv)
    if args.rounds is not None and args.rounds < 1:
        parser.error(f"Expected --rounds to be positive; got {args.rounds}.")
    for option in ("readme", "fill_memory"):
        if getattr(args, option) and not args.json:
            parser.error(f"Expected --json with --{option.replace('_', '-')}; got none.")
    args.rounds = args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS)
    return args


def _passed_on(argv: list[str]) -> list[str]:
    """The arguments without --backend, which every mode sets."""
    keep, skip = [], False
    for argument in argv:
        if not skip and not argument.startswith("--backend"):
            keep.append(argument)
        skip = argument == "--backend"
    return keep


def _workloads(args: argparse.Namespace, backend: str) -> list[Workload]:
    every = QUICK if args.quick else (*WORKLOADS, *(ON_GPU if backend == "gpu" else ()))
    return [work for work in every if args.only in work.name]


def _chosen(found: list[Contestant], args: argparse.Namespace) -> list[Contestant]:
    chosen = [c for c in found if _is_chosen(c.name, args)]
    if args.quick:
        chosen = [c for c in chosen if not any(word in c.variant for word in SLOW_TO_COMPILE)]
    return chosen


def _is_chosen(name: str, args: argparse.Namespace) -> bool:
    return any(word in name for word in args.contestants.split(","))


def _measure(
    work: Workload, chosen: list[Contestant], setting: Setting, machine: limits.Machine, args: argparse.Namespace
) -> dict[str, Any]:
    print(work.name, file=sys.stderr)
    rows = measure(work, chosen, setting, args.rounds, log=lambda line: print(line, file=sys.stderr, flush=True))
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


def _fill_memory(args: argparse.Namespace, setting: Setting) -> dict[str, Any]:
    """Kept after each row: it is a process a row, and what was found is not lost to what comes later."""
    data = results.read(args.json)
    for name, part in data["workloads"].items():
        for row in results.timed(part) if args.only in name else ():
            if not row.get("memory") and _is_chosen(row["contestant"], args):
                row["memory"] = memory.peak(name, row["contestant"], setting)
                print(f"{name}: {row['contestant']}", file=sys.stderr, flush=True)
                results.merge(args.json, {name: part})
    return data


def _show(measured: dict[str, Any], args: argparse.Namespace) -> None:
    print(table.full(measured))
    data = results.read(args.json) if args.json else measured
    if args.json:
        args.json.with_suffix(".md").write_text(table.full(data), encoding="utf-8")
    if args.plot:
        plot.draw(data, args.plot)
    if args.readme:
        summary.write(data)
