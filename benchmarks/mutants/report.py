"""The report: shares killed with their intervals, and the survivors."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from benchmarks.mutants.results import Result
from benchmarks.mutants.sample import Mutant, Sample

_Z = 1.959963984540054  # the normal quantile of 97.5 %
_TARGET = 0.9


def wilson(killed: int, tried: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share.

    ((k + z²/2) ± z sqrt(k (n - k) / n + z²/4)) / (n + z²), from Wilson, J. Am. Stat. Assoc. 22 (1927).

    Args:
        killed: k, the number of mutants that were found.
        tried: n, the number of mutants that were tried; at least 1.
    Returns:
        the bounds, between 0 and 1.

    >>> low, high = wilson(90, 100)
    >>> round(low, 3), round(high, 3)
    (0.826, 0.945)
    """
    centre = (killed + _Z**2 / 2) / (tried + _Z**2)
    half = _Z * math.sqrt(killed * (tried - killed) / tried + _Z**2 / 4) / (tried + _Z**2)
    return max(0.0, centre - half), min(1.0, centre + half)


def tried(sample: Sample, done: Mapping[str, Result]) -> list[tuple[Mutant, Result]]:
    """Pair the sample's mutants with their results; results of other mutants are out of date."""
    return [(mutant, done[mutant.name]) for mutant in sample.mutants if mutant.name in done]


def unexplained(sample: Sample, done: Mapping[str, Result], reasons: Mapping[str, str]) -> list[str]:
    """Return the names of the survivors without a reason."""
    return [mutant.name for mutant, result in _survivors(sample, done) if mutant.name not in reasons]


def markdown(
    sample: Sample, first: Mapping[str, Result], done: Mapping[str, Result], reasons: Mapping[str, str]
) -> str:
    """Write the table by group of files, the total, and the survivors with their reasons.

    Args:
        sample: the mutants.
        first, done: the first and the last result of each mutant that was tried, by its name.
        reasons: why survivors are harmless, by the mutant's name.
    """
    pairs = tried(sample, done)
    verdicts = Counter((result.subject, result.verdict) for _, result in pairs)
    drawn = Counter(mutant.subject for mutant in sample.mutants)
    lines = ["# Mutants", "", *_summary(sample, tried(sample, first), pairs, unexplained(sample, done, reasons))]
    lines += ["", "| files | places | drawn | tried | killed | stopped | survived | found | 95 % interval |"]
    lines += ["| --- " + "| ---: " * 8 + "|"]
    for name, places in sample.population.items():
        lines.append(_row(name, places, drawn[name], [verdicts[name, verdict] for verdict in _VERDICTS]))
    totals = [sum(verdicts[name, verdict] for name in sample.population) for verdict in _VERDICTS]
    lines.append(_row("all", sum(sample.population.values()), len(sample.mutants), totals))
    lines += ["", "## Survivors", ""]
    for mutant, _ in _survivors(sample, done):
        lines += _survivor(mutant, reasons.get(mutant.name, "**not explained yet**"))
    return "\n".join(lines).rstrip("\n") + "\n"


_VERDICTS = ("killed", "timeout", "survived")


def _survivors(sample: Sample, done: Mapping[str, Result]) -> list[tuple[Mutant, Result]]:
    found = [(mutant, result) for mutant, result in tried(sample, done) if result.verdict == "survived"]
    return sorted(found, key=lambda pair: (pair[0].file, pair[0].line, pair[0].name))


def _found(pairs: list[tuple[Mutant, Result]]) -> int:
    return sum(result.verdict != "survived" for _, result in pairs)


def _share(pairs: list[tuple[Mutant, Result]]) -> str:
    found = _found(pairs)
    low, high = wilson(found, len(pairs))
    return f"{found / len(pairs):.1%} found, {low:.1%} to {high:.1%} at 95 % confidence"


def _summary(
    sample: Sample,
    first: list[tuple[Mutant, Result]],
    pairs: list[tuple[Mutant, Result]],
    open_names: list[str],
) -> list[str]:
    lines = [
        "A mutant is a copy of the checkout with one small fault. It is found if a test fails or does not end in time.",
        "Written by `python -m benchmarks mutants`; the method is in [the benchmarks' page](../README.md#mutants).",
    ]
    if not pairs:
        return [*lines, "No mutant has been tried yet."]
    lines.append(f"{len(pairs)} of {len(sample.mutants)} mutants drawn have been tried: {_share(pairs)}.")
    lines += [
        f"At the first try, before tests were added for survivors: {_share(first)}.",
        "This first share, not the later one, estimates how many of the faults outside the sample are found.",
    ]
    found = _found(pairs)
    if open_names:
        lines.append(f"{len(open_names)} survivors have no reason yet, so this is no claim.")
    elif len(pairs) == len(sample.mutants) and found >= _TARGET * len(pairs):
        lines.append(f"So at least {_TARGET:.0%} of the sample are found, and each survivor below is harmless.")
    return lines


def _row(name: str, places: int, drawn: int, counts: list[int]) -> str:
    total = sum(counts)
    if total == 0:
        return f"| {name} | {places} | {drawn} | 0 | | | | | |"
    found = total - counts[-1]
    low, high = wilson(found, total)
    cells = " | ".join(str(count) for count in counts)
    return f"| {name} | {places} | {drawn} | {total} | {cells} | {found / total:.0%} | {low:.0%} to {high:.0%} |"


def _survivor(mutant: Mutant, reason: str) -> list[str]:
    lines = [f"`{mutant.name}` {mutant.file}:{mutant.line}", "", "```diff"]
    lines += [f"{sign}{text}" for sign, text in (("-", mutant.before), ("+", mutant.after)) if text]
    return [*lines, "```", "", reason, ""]
