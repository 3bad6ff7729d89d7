"""``python -m benchmarks gpu``: measure one GPU in a single session of eight minutes.

Every row is written as soon as it is measured. Each stage runs in its own process, because XLA reads its flags once per
process, and is stopped when its share of the time is over. ``--dry`` rehearses every stage on the CPU, in one process
and on tiny networks.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import jax

from benchmarks.gpu import summary
from benchmarks.gpu.clock import Clock
from benchmarks.gpu.record import Record, markdown

RESULTS = Path(__file__).parents[1] / "results"
BUDGET_S = 460
NO_COMMAND_BUFFERS = "--xla_gpu_enable_command_buffer="


@dataclass(frozen=True)
class Stage:
    """A part of the session.

    Attributes:
        name: the key of its rows in the file of results.
        seconds: the most time it may take; rows that it has written by then stay.
        runner: "module:function" below `benchmarks.gpu`.
        xla_flags: added to XLA_FLAGS in its process.
    """

    name: str
    seconds: int
    runner: str
    xla_flags: str = ""

    def run(self, file: Path | None, dry: bool) -> Record:
        """Run the stage in this process."""
        module, function = self.runner.split(":")
        record = Record(self.name, file)
        getattr(import_module(f"benchmarks.gpu.{module}"), function)(record, Clock(dry), dry)
        return record


# Stages in order of importance: on a slow machine, there may be no time left for the last ones.
STAGES = (
    Stage("ceilings", 40, "ceilings:run"),
    Stage("correctness", 80, "correctness:run"),
    Stage("training", 100, "training:run"),
    Stage("prediction", 80, "prediction:run"),
    Stage("torch", 90, "torch_rows:run"),
    Stage("no command buffers", 35, "training:run_without_command_buffers", NO_COMMAND_BUFFERS),
    Stage("fit", 40, "fitting:run"),
    Stage("parity", 90, "parity:run"),
)


def main(argv: list[str]) -> dict[str, Any]:
    """Run the command, and return the stages with their rows."""
    args = _arguments(argv)
    if args.stage:
        _stage(args.stage).run(args.json, args.dry)
        return {}
    if args.redraw:
        return _redraw(args)
    start, stages = time.monotonic(), {}
    for stage in STAGES:
        if args.dry:
            print(f"== {stage.name}")
            stages[stage.name] = stage.run(args.json, dry=True).as_dict()
            continue
        left = args.seconds - (time.monotonic() - start)
        if left < 10:
            print(f"== {stage.name}: skipped, no time is left")
            continue
        _in_a_process(stage, args.json, min(stage.seconds, left))
    if args.json and args.json.exists():
        stages = _redraw(args)
    print(f"{time.monotonic() - start:.0f} s in all")
    return stages


def _redraw(args: argparse.Namespace) -> dict[str, Any]:
    """Write the tables of the results file."""
    stages = json.loads(args.json.read_text(encoding="utf-8"))
    args.json.with_suffix(".md").write_text(markdown(stages), encoding="utf-8")
    if args.readme:
        summary.write(stages)
    return stages


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__)
    parser.add_argument("--dry", action="store_true", help="rehearse every stage on the CPU, on tiny networks")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="put the rows into this file, and their tables into a .md beside it"
    )
    parser.add_argument("--readme", action="store_true", help="put short tables into docs/results.md")
    parser.add_argument("--redraw", action="store_true", help="measure nothing; write the tables of --json's file")
    parser.add_argument("--seconds", type=float, default=BUDGET_S, help=f"time for all stages (default {BUDGET_S})")
    parser.add_argument("--stage", choices=[stage.name for stage in STAGES], help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.redraw and (args.json is None or not args.json.exists()):
        parser.error(f"Expected --json with --redraw to be a file that exists; got {args.json}.")
    if not args.dry and not args.redraw and jax.default_backend() != "gpu":
        parser.error("Expected a GPU; JAX finds none. Rehearse with --dry.")
    if args.json is None and not args.dry:
        device = jax.devices()[0].device_kind.lower().replace("nvidia ", "").split()[0]
        args.json = RESULTS / f"gpu-{device}.json"
    return args


def _stage(name: str) -> Stage:
    return next(stage for stage in STAGES if stage.name == name)


def _in_a_process(stage: Stage, file: Path, seconds: float) -> None:
    """Run a stage in its own process, and report if it is stopped or fails."""
    print(f"== {stage.name}, at most {seconds:.0f} s", flush=True)
    flags = " ".join(filter(None, (os.environ.get("XLA_FLAGS", ""), stage.xla_flags)))
    environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"} | ({"XLA_FLAGS": flags} if flags else {})
    command = [sys.executable, "-m", "benchmarks", "gpu", "--stage", stage.name, "--json", str(file)]
    try:
        status = subprocess.run(command, env=environment, timeout=seconds).returncode
        if status:
            print(f"== {stage.name}: failed with status {status}", flush=True)
    except subprocess.TimeoutExpired:
        print(f"== {stage.name}: stopped after {seconds:.0f} s", flush=True)
