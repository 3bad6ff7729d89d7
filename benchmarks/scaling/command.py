"""``python -m benchmarks scaling``: time and peak memory against parameters, draws, batch and devices.

Memory is computed from the compiled program, so the largest networks never run. The devices are simulated: in a process
of its own, XLA divides one CPU into several. Their rows show what each device holds and computes, but no times.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from typing import Any

from benchmarks.accuracy import report
from benchmarks.scaling import plot
from benchmarks.scaling.cases import KINDS
from benchmarks.scaling.measure import QUICK, Plan, along, slope
from parity_tests import backend

AXES = ("parameters", "draws", "batch", "devices")
# Over several devices, every number of devices divides the batch, and most of the network's work is per example.
OVER_DEVICES = {"batch": 1024, "parameters": 1e6}


def measure(axis: str, plan: Plan) -> dict[str, Any]:
    """Measure training and prediction along an axis."""
    found = {}
    for kind, case in KINDS.items():
        for name, value in (OVER_DEVICES if axis == "devices" else {}).items():
            case = case.at(name, value)
        found[kind] = along(case, axis, plan.values(axis, kind), plan)
        print(f"{axis}, {kind}: done", file=sys.stderr, flush=True)
    return found


def over_devices(quick: bool) -> dict[str, Any]:
    """Measure along the axis of devices, in a process that has this many devices."""
    count = max((QUICK if quick else Plan()).devices)
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
    environment = {**os.environ, "XLA_FLAGS": flags.strip(), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "benchmarks", "scaling", "--devices-only", *(["--quick"] if quick else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def as_markdown(record: dict[str, Any]) -> str:
    """A table per axis, and the fitted slopes."""
    parts = []
    for axis, kinds in record["axes"].items():
        for kind, rows in kinds.items():
            lines = [_line(axis, row) for row in rows]
            header = [plot.LABELS[axis], "ms, median", "lowest to highest", "peak, MB", "peak, trained arrays"]
            if axis == "devices":
                header[1:3] = ["operations per device", "of those of one device"]
                for line, row in zip(lines, rows, strict=True):
                    line[1:3] = [f"{row['operations']:.3g}", f"{row['operations'] / rows[0]['operations']:.2f}"]
            parts += [
                f"{kind.capitalize()} against {plot.LABELS[axis]}. {_slopes(axis, rows)}",
                report.table(header, lines),
            ]
    return "\n\n".join(parts)


def _line(axis: str, row: dict[str, Any]) -> list[str]:
    value = row["count"] if axis == "parameters" else row["value"]
    seconds = ["not run", "-"]
    if "seconds" in row:
        seconds = [f"{1e3 * row['seconds']:.3g}", f"{1e3 * row['low']:.3g} to {1e3 * row['high']:.3g}"]
    return [f"{value:,}", *seconds, f"{1e-6 * row['peak']:,.4g}", f"{row['arrays']:.2f}"]


def _slopes(axis: str, rows: list[dict[str, Any]]) -> str:
    """Write a sentence on the exponents that are fitted to the largest values."""
    measures = {"operations": "work per device"} if axis == "devices" else {"seconds": "time"}
    measures |= {"peak": "memory"}
    found = [f"{name} grows with the power {slope(rows, axis, measure):.2f}" for measure, name in measures.items()]
    return f"Of the largest values, {' and '.join(found)}."


def main(argv: list[str]) -> dict[str, Any]:
    """Print the tables; with --json also write all files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks scaling", description=__doc__)
    report.add_record_options(parser)
    backend.add_option(parser)
    parser.add_argument("--devices-only", action="store_true", help=argparse.SUPPRESS)
    args = backend.parse(parser, argv)
    if args.redraw:
        return report.redraw(args, as_markdown, plot.picture)
    plan = QUICK if args.quick else Plan()
    if args.devices_only:
        found = measure("devices", plan)
        print(json.dumps(found))
        return found
    axes = {axis: over_devices(args.quick) if axis == "devices" else measure(axis, plan) for axis in AXES}
    record = {"quick": args.quick, "rounds": plan.rounds, "axes": axes}
    return report.finish(args, record, as_markdown, plot.picture)
