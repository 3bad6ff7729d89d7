"""The tables of the benchmark on tabular sets."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.accuracy import report
from benchmarks.accuracy.tabular_compare import MARGIN, TASKS, Comparison, Methods, Task, compare
from benchmarks.accuracy.uci_score import LEVELS

_LEVELS = " / ".join(f"{100 * level:g}" for level in LEVELS)
METRICS = {
    "nll": ("NLL per example, nats", 3),
    "accuracy": ("Accuracy, %", 1),
    "ece": ("Expected calibration error (15 bins), %", 1),
    "rmse": ("RMSE in the target's units", 3),
}
OF_TASK = {"classification": ("nll", "accuracy", "ece"), "regression": ("nll", "rmse")}


def as_markdown(record: dict[str, Any]) -> str:
    """A comparison of the methods, and a table per metric, for both kinds of sets."""
    parts = []
    for kind, task in TASKS.items():
        sets = record[kind]
        if sets:
            parts += _of_kind(kind, task, sets)
    return "\n\n".join(parts)


def _of_kind(kind: str, task: Task, sets: dict[str, Any]) -> list[str]:
    methods = {name: found["methods"] for name, found in sets.items()}
    order = [method for method in task.order if any(method in found for found in methods.values())]
    parts = [
        f"## {kind.capitalize()}",
        f"Number of sets: {len(sets)}. Excess is the mean test NLL of a set minus the lower of those of "
        f"{task.references[0]} and {task.references[1]}, in nats. A method is ranked on the sets that it ran on.",
        _comparisons(kind, task, methods),
    ]
    for metric in OF_TASK[kind]:
        title, digits = METRICS[metric]
        rows = [
            [name, *(_cell(found.get(method), metric, digits) for method in order)] for name, found in methods.items()
        ]
        parts += [f"{title}, mean ± standard error over splits.", report.table(["set", *order], rows)]
    if kind == "regression":
        rows = [[name, *(_coverage(found.get(method)) for method in order)] for name, found in methods.items()]
        parts += [f"Coverage of the central {_LEVELS} % intervals, %.", report.table(["set", *order], rows)]
    return parts + _left_out(sets)


def _comparisons(kind: str, task: Task, sets: dict[str, Methods]) -> str:
    header = ["method", "sets", "mean rank, NLL", f"mean rank, {task.second.upper()}", "at or below both"]
    header += ["mean excess", "worst excess", "on", f"at most {MARGIN} above the Gaussian process"]
    if kind == "regression":
        header.append(f"mean coverage at {_LEVELS} %")
    rows = []
    for method, found in compare(sets, task).items():
        row = [method, *_row(found, task)]
        if kind == "regression":
            shares = np.mean([scores[method]["coverage"] for scores in sets.values() if method in scores], axis=0)
            row.append(_levels(shares))
        rows.append(row)
    return report.table(header, rows)


def _row(found: Comparison, task: Task) -> list[str]:
    near, of = found.near_process
    ranks = ["-", "-"]
    if found.ranks is not None:
        ranks = [f"{found.ranks[metric]:.2f}" for metric in ("nll", task.second)]
    excess = [f"{found.mean_excess:.3f}", f"{found.worst_excess:.3f}", found.worst_set]
    return [str(found.sets), *ranks, f"{found.wins} of {found.sets}", *excess, f"{near} of {of}"]


def _cell(scores: dict[str, Any] | None, metric: str, digits: int) -> str:
    if scores is None:
        return "-"
    text, error = f"{scores[metric]:.{digits}f}", scores[f"{metric}_se"]
    return text if error is None else f"{text} ± {error:.{digits}f}"


def _coverage(scores: dict[str, Any] | None) -> str:
    return "-" if scores is None else _levels(scores["coverage"])


def _levels(shares: Any) -> str:
    return " / ".join(f"{share:.1f}" for share in shares)


def _left_out(sets: dict[str, Any]) -> list[str]:
    """A sentence per method and reason."""
    names: dict[tuple[str, str], list[str]] = {}
    for name, found in sets.items():
        for method, reason in found["left_out"].items():
            names.setdefault((method, reason), []).append(name)
    return [f"{method} is left out on {', '.join(of)}: {reason}." for (method, reason), of in names.items()]
