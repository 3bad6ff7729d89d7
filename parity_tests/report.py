"""Report of the comparison, as data and as Markdown.

It has a row per case, precision and kind of quantity. The Markdown is made from the data alone.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
from pathlib import Path
from typing import Any

from parity_tests import cases, harness, original, trajectories
from parity_tests.harness import DTYPES, LOW, Error
from parity_tests.progress import tracked
from parity_tests.tolerances import BY_NAME

RESULTS = Path(__file__).parent / "results"
_PAIRS = [("jax", "torch"), ("jax", "reference"), ("torch", "reference"), ("original", "torch")]
_TITLES = {
    "jax torch": "JAX to torch",
    "jax reference": "JAX to 60 digits",
    "torch reference": "torch to 60 digits",
    "original torch": "original to torch",
}


def collect() -> dict[str, Any]:
    """Run everything, and return the report in types that JSON can represent."""
    rows = []
    for group, members in cases.GROUPS.items():
        for case, dtype in tracked(group, [(member, dtype) for member in members for dtype in member.dtypes]):
            rows += _case_rows(case, dtype)
    for run, dtype in tracked("training", [(run, dtype) for run in trajectories.RUNS for dtype in DTYPES]):
        measured = {"jax torch": _plain(trajectories.error(run, dtype))}
        rows.append(_row(run.name, dtype, "parameters", "trajectory", "", measured))
    names = ("jax", "torch", "flax", "optax", "numpy", "mpmath")
    return {
        "devices": harness.devices(),
        "versions": {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names},
        "original": original.module() is not None,
        "rows": rows,
    }


def markdown(data: dict[str, Any]) -> str:
    """Write the report as Markdown."""
    pairs = [pair for pair in _TITLES if any(pair in row["errors"] for row in data["rows"])]
    lines = ["# Parity of deepuq_jax and deepuq_torch", "", *_preamble(data), ""]
    for dtype in (*DTYPES, LOW):
        lines += [
            f"## {dtype}",
            "",
            "| case | what | tolerance | " + " | ".join(_TITLES[pair] for pair in pairs) + " |",
        ]
        lines.append("| --- " * (3 + len(pairs)) + "|")
        for row in data["rows"]:
            if row["dtype"] == dtype:
                shown = [_cell(row["errors"].get(pair)) for pair in pairs]
                lines.append("| " + " | ".join([_title(row), row["what"], row["tolerance"], *shown]) + " |")
        lines.append("")
    return "\n".join([*lines, *_legend(data), ""])


def worst_rows(data: dict[str, Any], count: int = 8) -> list[str]:
    """List the rows that use most of their tolerance."""
    measured = [
        (error["share"], f"{row['case']}, {row['what']}, {row['dtype']}, {_TITLES[pair]}: {_cell(error)}")
        for row in data["rows"]
        for pair, error in row["errors"].items()
        if not pair.startswith("original")
    ]
    ranked = sorted(measured, key=lambda entry: -(math.inf if entry[0] is None else entry[0]))
    return [
        f"{'beyond' if share is None else f'{share:.1%} of'} the tolerance: {text}" for share, text in ranked[:count]
    ]


def passes(data: dict[str, Any]) -> bool:
    """Return whether every error of the two packages is within its tolerance."""
    return all(
        error["share"] is not None and error["share"] <= 1.0
        for row in data["rows"]
        for pair, error in row["errors"].items()
        if not pair.startswith("original")
    )


def write(data: dict[str, Any], file: Path) -> None:
    """Write the data to a JSON file, and the Markdown beside it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    file.with_suffix(".md").write_text(markdown(data), encoding="utf-8")


def _case_rows(case: harness.Case, dtype: str) -> list[dict[str, Any]]:
    found = dict(harness.run(case, dtype))
    third = original.run(case, dtype)
    if third is not None:
        found["original"] = third
    by_kind: dict[str, dict[str, Any]] = {}
    for one, other in _PAIRS:
        if one in found and other in found:
            for kind, error in harness.errors(case, dtype, found[one], found[other]).items():
                by_kind.setdefault(kind, {})[f"{one} {other}"] = _plain(error)
    tolerances = {"value": case.tolerance, "gradient": case.grad_tolerance}
    return [_row(case.name, dtype, kind, tolerances[kind], case.fault, measured) for kind, measured in by_kind.items()]


def _row(name: str, dtype: str, what: str, tolerance: str, fault: str, measured: dict[str, Any]) -> dict[str, Any]:
    fault = fault if "original torch" in measured else ""
    return {"case": name, "dtype": dtype, "what": what, "tolerance": tolerance, "fault": fault, "errors": measured}


def _plain(error: Error) -> dict[str, float | None]:
    """Convert an error for JSON.

    None stands for infinity, which JSON does not have. Four digits suffice to compare two runs.
    """
    values = {"absolute": error.absolute, "ulp": error.ulp, "share": error.share}
    return {k: float(f"{v:.4g}") if math.isfinite(v) else None for k, v in values.items()}


def _cell(error: dict[str, float | None] | None) -> str:
    if error is None:
        return "-"
    if error["absolute"] is None or error["ulp"] is None:
        return "not finite"
    mark = "" if error["share"] is not None and error["share"] <= 1.0 else " **beyond**"
    return f"{error['absolute']:.1e} ({error['ulp']:.2g} ulp){mark}"


def _title(row: dict[str, Any]) -> str:
    return row["case"] + (" [fault]" if row["fault"] else "")


def _preamble(data: dict[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    return [
        f"JAX on {data['devices']['jax']}, torch on {data['devices']['torch']}; {versions}.",
        "Each cell shows the largest absolute error over all entries of all quantities, and the largest error in units",
        "of the last place (eps times the size that the tolerance is relative to). The 60 digits are those of mpmath.",
        "TF32 is off.",
    ]


def _legend(data: dict[str, Any]) -> list[str]:
    lines = [
        "## Tolerances",
        "",
        "| name | float32 | float64 | relative to | reason |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, tolerance in BY_NAME.items():
        size = "each entry" if tolerance.per_entry else "the largest entry of its tensor"
        size += f", at least {tolerance.floor:g}" if tolerance.floor else ""
        lines.append(f"| {name} | {tolerance.float32:g} | {tolerance.float64:g} | {size} | {tolerance.reason} |")
    faults = {row["case"]: row["fault"] for row in data["rows"] if row["fault"]}
    if faults:
        lines += ["", "## Faults of the original, whose errors are expected to exceed the tolerance", ""]
        lines += [f"- {case}: fault {fault}" for case, fault in faults.items()]
    return lines
