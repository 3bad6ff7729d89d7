"""A change between two result files, and the table of changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from statistics import NormalDist, median
from typing import Any

# The probability that a comparison of equal code reports a change in any row.
CHANCE = 0.05


class Verdict(Enum):
    """The outcome of a comparison for a row; the value is its wording in a table."""

    WORSE = "WORSE"
    BETTER = "better"
    SAME = "within noise"


@dataclass(frozen=True)
class Change:
    """A row that is in both files.

    Attributes:
        group: the workload or data set.
        name: the contestant or method.
        before, after: the two values, as text.
        difference: after relative to before, as text.
        noise: the difference that equal code may show, as text.
        verdict: the outcome of the comparison.
    """

    group: str
    name: str
    before: str
    after: str
    difference: str
    noise: str
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """All changes, and notes on how to read them.

    Attributes:
        changes: a `Change` per row.
        notes: sentences for the reader.
    """

    changes: list[Change]
    notes: list[str]

    @property
    def is_worse(self) -> bool:
        """Whether a row is worse beyond noise."""
        return any(change.verdict is Verdict.WORSE for change in self.changes)


def normal_threshold(rows: int) -> float:
    """Return the threshold that some of the rows exceed with probability `CHANCE` at most.

    The rows are standard normal. They may be worse or better, so there are two tails per row (Bonferroni).

    >>> round(normal_threshold(1), 2), round(normal_threshold(100), 2)
    (1.96, 3.48)
    """
    return -NormalDist().inv_cdf(CHANCE / (2 * max(rows, 1)))


def median_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Return the median and a robust standard deviation.

    The latter is 1.4826 times the median of the absolute deviations, which equals the standard deviation of a normal
    distribution.

    >>> median_and_spread([1.0, 2.0, 3.0, 100.0, 2.0])
    (2.0, 1.4826)
    """
    centre = median(values)
    return centre, 1.4826 * median(abs(value - centre) for value in values)


def as_text(comparison: Comparison, *, every: bool) -> str:
    """Write a comparison as text: notes, the changed rows (or all rows), and a summary.

    Args:
        comparison: the comparison of two files.
        every: whether to list the rows within noise, too.
    """
    lines = [*comparison.notes]
    shown = [change for change in comparison.changes if every or change.verdict is not Verdict.SAME]
    width = max((len(change.name) for change in shown), default=0)
    for group in dict.fromkeys(change.group for change in shown):
        lines += ["", group]
        for change in shown:
            if change.group == group:
                lines.append(
                    f"  {change.name:{width}}  {change.before:>12} -> {change.after:>12}  {change.difference:>8}"
                    f"  (noise {change.noise})  {change.verdict.value}"
                )
    counts = {verdict: sum(change.verdict is verdict for change in comparison.changes) for verdict in Verdict}
    words = ", ".join(f"{count} {verdict.value}" for verdict, count in counts.items())
    return "\n".join([*lines, *([""] if lines else []), f"{len(comparison.changes)} rows in both files: {words}"])


def as_record(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison in types that JSON can represent, with every row."""
    rows = [{**asdict(change), "verdict": change.verdict.value} for change in comparison.changes]
    return {"is_worse": comparison.is_worse, "notes": comparison.notes, "changes": rows}


def percent(log_ratio: float) -> str:
    """Write the logarithm of a ratio as a change in percent.

    >>> percent(math.log(1.25)), percent(math.log(0.5))
    ('+25.0 %', '-50.0 %')
    """
    return f"{100 * math.expm1(log_ratio):+.1f} %"
