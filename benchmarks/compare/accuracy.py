"""Compare two records of ``python -m benchmarks accuracy uci`` or ``tabular``.

If both records have scores of equally many splits, these count as the same splits, and the noise is the standard error
of the differences per split, since the splits differ far more than the methods. Otherwise the noise is the root of the
sum of the two squared standard errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import t as student

from benchmarks.compare.change import CHANCE, Change, Comparison, Verdict, normal_threshold

# Metrics by name, and whether more is better.
METRICS = {"log_likelihood": True, "accuracy": True, "nll": False, "rmse": False, "ece": False}
_SETTINGS = ("seed", "quick", "plan", "draws")


class Score(NamedTuple):
    """A method's score on a set, its standard error, and the scores of the splits (empty if unknown)."""

    value: float
    error: float
    splits: list[float]


def compare(before: dict[str, Any], after: dict[str, Any], is_chosen: Callable[[str, str], bool]) -> Comparison:
    """Compare the scores that are in both records.

    Args:
        before, after: records.
        is_chosen: a function of the names of a data set and a method.
    """
    found = [dict(_scores(record, "")) for record in (before, after)]
    keys = [key for key in found[0] if key in found[1] and is_chosen(key[0], key[1])]
    changes = [_change(key, found[0][key], found[1][key], len(keys)) for key in keys]
    notes = [
        f"The records differ in {name}: {before.get(name)} and {after.get(name)}."
        for name in _SETTINGS
        if before.get(name) != after.get(name)
    ]
    return Comparison(changes, notes)


def names(record: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return the names of the data sets and of the methods with scores."""
    keys = [key for key, _ in _scores(record, "")]
    return list(dict.fromkeys(key[0] for key in keys)), list(dict.fromkeys(key[1] for key in keys))


def _scores(node: Any, name: str) -> Iterator[tuple[tuple[str, str, str], Score]]:
    """Yield (set, method, metric) and the score, at any depth of a record."""
    if not isinstance(node, dict):
        return
    for method, found in node.get("methods", {}).items():
        for metric in METRICS:
            if f"{metric}_se" in found:
                splits = [split[metric] for split in found.get("per_split", []) if metric in split]
                yield (name, method, metric), Score(found[metric], found[f"{metric}_se"], splits)
    for below, child in node.items():
        if below != "methods":
            yield from _scores(child, below)


def _change(key: tuple[str, str, str], before: Score, after: Score, rows: int) -> Change:
    group, method, metric = key
    if len(before.splits) == len(after.splits) >= 2:
        differences = np.subtract(after.splits, before.splits)
        error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
        noise = float(student.isf(CHANCE / (2 * rows), len(differences) - 1)) * error
    else:
        noise = normal_threshold(rows) * math.hypot(before.error, after.error)
    difference = after.value - before.value
    gain = difference if METRICS[metric] else -difference
    verdict = Verdict.SAME if abs(gain) <= noise else Verdict.BETTER if gain > 0 else Verdict.WORSE
    words = (f"{before.value:.4g}", f"{after.value:.4g}", f"{difference:+.2g}", f"{noise:.2g}")
    return Change(group, f"{method}: {metric}", *words, verdict)
