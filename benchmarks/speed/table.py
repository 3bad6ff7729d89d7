"""The full table of a result file, as Markdown."""

from __future__ import annotations

from typing import Any

from benchmarks.speed import results
from parity_tests import markers

_HEADER = (
    "| contestant | µs per step (min-max) | x floor | x original | share of the limit | first call, s "
    "| peak MiB (without imports) | check |"
)
_INTRODUCTION = (
    'A prediction counts as one step. "x floor" is the time relative to the deterministic network in the same style, '
    'and "x original" is the time relative to uqdeepnn. The limit of a workload is a lower bound of the time per step: '
    "the longer of the time for its bytes and the time for its operations, at the rates that the run measured. Each "
    "section states the limit of the Bayesian network. The deterministic network has its own limit."
)


def full(data: dict[str, Any]) -> str:
    """Every workload: contestants by speed, then the skipped contestants."""
    lines = ["# Speed", "", *markers.wrapped(_INTRODUCTION), ""]
    for name, part in data["workloads"].items():
        lines += [f"## {name}", "", *_preamble(part), "", _HEADER, "| --- " * 8 + "|"]
        lines += [_line(row, part) for row in sorted(results.timed(part), key=results.median)]
        lines += [_untimed(row) for row in part["rows"] if "median_s" not in row]
        lines.append("")
    return "\n".join(lines)


def _preamble(part: dict[str, Any]) -> list[str]:
    where, machine = part["environment"], part["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    bayesian = part["limits"]["bayesian"]
    software = f"Python {where['python']}, {versions}."
    if where["xla_flags"]:
        software += f" XLA flags: `{where['xla_flags']}`."
    if part["absent"]:
        software += f" Not installed: {', '.join(part['absent'])}."
    return [
        f"{where['device']}, {where['cores']} cores, {where['torch_threads']} torch threads, {where['precision']}; "
        f"commit {where['commit']}; medians of {part['rounds']} rounds.",
        software,
        f"The limit is {micro(bayesian['limit_s'])} µs, the longer of {bayesian['bytes']:,} bytes at "
        f"{machine['bandwidth'] / 1e9:.1f} GB/s and {bayesian['operations']:,} operations at "
        f"{machine['flops'] / 1e9:,.0f} GFLOP/s. A step draws {bayesian['normals']:,} normal numbers.",
    ]


def _line(row: dict[str, Any], part: dict[str, Any]) -> str:
    limit = part["limits"]["deterministic" if row["package"] == results.FLOOR else "bayesian"]["limit_s"]
    cells = [
        row["contestant"],
        f"{micro(row['median_s'])} ({micro(row['low_s'])}-{micro(row['high_s'])})",
        times(results.ratio(row, results.floor_of(row, part))),
        times(results.ratio(row, results.original_of(part))),
        f"{limit / row['median_s']:.1%}",
        f"{row['first_s']:.2f}",
        _memory(row.get("memory") or {}),
        row["check"],
    ]
    return f"| {' | '.join(cells)} |"


def _memory(memory: dict[str, Any]) -> str:
    if not memory:
        return "-"
    shown = f"{_mib(memory['peak'])} ({_mib(memory['peak'] - memory['imports'])})"
    return shown + (f", device {_mib(memory['device'])}" if memory["device"] else "")


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f}"


def _untimed(row: dict[str, Any]) -> str:
    return f"| {row['contestant']} |{' - |' * 6} {row.get('check') or 'skipped: ' + row['skipped']} |"


def micro(seconds: float) -> str:
    """Microseconds, to about three digits.

    >>> micro(1.234e-5), micro(0.012345678)
    ('12.3', '12,346')
    """
    return f"{seconds * 1e6:,.0f}" if seconds >= 1e-4 else f"{seconds * 1e6:.1f}"


def times(ratio: float | None) -> str:
    """A ratio to three digits, or a dash.

    >>> times(2.125), times(0.01234), times(None)
    ('2.12', '0.0123', '-')
    """
    if ratio is None:
        return "-"
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.3g}"
