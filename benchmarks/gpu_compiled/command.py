"""``python -m benchmarks gpu-compiled``: kernels and bytes of programs compiled for an absent H100.

The compiler is part of JAX's plugin for CUDA, and needs no GPU. Bytes are computed from the shapes in the compiled
program, and times from the bandwidth of the card's memory. They are estimates, since no program runs.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import jax

from benchmarks.accuracy import report
from benchmarks.command_line import unknown
from benchmarks.gpu_compiled import hlo, plot, target
from benchmarks.gpu_compiled.traffic import Kernel, kernels
from benchmarks.gpu_compiled.workloads import QUICK, WORKLOADS, Workload

RESULTS = Path(__file__).parents[1] / "results"
MEASURED = RESULTS / "gpu-h100.json"
# Number of kernels per program in the record: those that move most bytes.
_LARGEST = 12


def measure(workload: Workload, sharding: Any, card: dict[str, Any]) -> dict[str, Any]:
    """Compile a program, and count what it launches and moves.

    Args:
        workload: the program.
        sharding: the placement of its arguments.
        card: the record of a GPU.
    Returns:
        name: the name of the row.
        launches: number of kernels and copies launched per run.
        copies: number of copies among them.
        bytes: bytes that all of them read and write.
        floor_bytes: arguments and results, each moved once.
        measured_us: the time of the program in the record of a GPU, or None.
        largest: the kernels that move most bytes.
    """
    compiled = workload.lower(sharding).compile(compiler_options=target.OPTIONS)
    found = kernels(hlo.parse(compiled.as_text()))
    memory = compiled.memory_analysis()
    largest = sorted(found, key=lambda kernel: kernel.bytes, reverse=True)[:_LARGEST]
    return {
        "name": workload.name,
        "launches": sum(kernel.launches for kernel in found),
        "copies": sum(kernel.launches for kernel in found if kernel.opcode.startswith("copy")),
        "bytes": sum(kernel.bytes for kernel in found),
        "floor_bytes": int(memory.argument_size_in_bytes + memory.output_size_in_bytes),
        "measured_us": _measured(workload, card),
        "largest": [_shown(kernel) for kernel in largest],
    }


def _shown(kernel: Kernel) -> dict[str, Any]:
    return {"name": kernel.name, "source": kernel.source, "launches": kernel.launches, "bytes": kernel.bytes}


def _measured(workload: Workload, card: dict[str, Any]) -> float | None:
    if workload.measured is None:
        return None
    stage, row, column = workload.measured
    return card[stage]["rows"].get(row, {}).get(column)


def as_markdown(record: dict[str, Any]) -> str:
    """Format a table of the programs, and one of the largest kernels of the first program."""
    bandwidth = record["bandwidth"]
    made = record["environment"]
    parts = [
        f"Compiled for {record['target']} with jax {made['jax']} and never run. Bytes follow from the shapes of the "
        f"arrays. Times are bytes at {bandwidth / 1e12:.2f} TB/s, without arithmetic and launches, so they are "
        f"estimates. The last column was measured on a card, with an earlier version of the library "
        f"({record['measured_with']}).",
        _programs(record["rows"], bandwidth),
    ]
    if record["rows"]:
        first = record["rows"][0]
        parts += [f"The kernels of `{first['name']}` that move most:", _largest(first["largest"])]
    return "\n\n".join(parts)


def _programs(rows: list[dict[str, Any]], bandwidth: float) -> str:
    header = [
        "program",
        "launches",
        "copies among them",
        "MB moved",
        "MB, floor",
        "µs implied",
        "µs, floor",
        "µs measured",
    ]
    lines = []
    for row in rows:
        moved = [row["bytes"], row["floor_bytes"]]
        measured = "-" if row["measured_us"] is None else _short(row["measured_us"])
        sizes, times = ([_short(unit * value) for value in moved] for unit in (1e-6, 1e6 / bandwidth))
        lines.append([row["name"], f"{row['launches']:,}", f"{row['copies']:,}", *sizes, *times, measured])
    return report.table(header, lines)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _largest(found: list[dict[str, Any]]) -> str:
    lines = [[f"`{one['name']}`", f"`{one['source']}`", _short(1e-6 * one["bytes"])] for one in found]
    return report.table(["kernel", "last operation", "MB"], lines)


def _run(chosen: tuple[Workload, ...], quick: bool, file: Path | None) -> dict[str, Any]:
    """Compile the programs, and write each row as soon as it is known."""
    placed = target.sharding()
    name = target.specification()["gpu_device_info"]["name"]
    card = json.loads(MEASURED.read_text(encoding="utf-8"))
    measured_with = f"{card['training']['device']}, jax {card['training']['jax']}"
    record = {"target": name, "quick": quick, "bandwidth": target.bandwidth(), "measured_with": measured_with}
    record |= {"environment": report.environment(), "rows": []}
    for workload in chosen:
        began = time.perf_counter()
        row = measure(workload, placed, card)
        record["rows"].append(row)
        print(f"{row['name']}: {row['launches']} launches, {1e-6 * row['bytes']:,.1f} MB", end="", flush=True)
        print(f" (compiled in {time.perf_counter() - began:.0f} s)", flush=True)
        if file:
            report.write(file, record, as_markdown(record), plot.picture(record))
    return record


def main(argv: list[str]) -> dict[str, Any]:
    """Print the table; with --json also write all files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu-compiled", description=__doc__)
    report.add_record_options(parser)
    parser.add_argument("--only", default="", metavar="TEXT", help="only programs whose name contains this")
    args = parser.parse_args(argv)
    if args.redraw:
        return report.redraw(args, as_markdown, plot.picture)
    # No GPU is needed, and none is used.
    jax.config.update("jax_platforms", "cpu")
    offered = QUICK if args.quick else WORKLOADS
    chosen = tuple(workload for workload in offered if args.only in workload.name)
    if not chosen:
        parser.error(unknown("--only", "program", args.only, [workload.name for workload in offered]))
    record = _run(chosen, args.quick, args.json)
    return report.show(args, record, as_markdown, plot.picture)  # The record is written already.
