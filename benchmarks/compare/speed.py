"""Compare two result files of ``python -m benchmarks speed``.

The noise of a ratio has two parts. Within a run, it is the standard error of both medians, estimated from the fastest
calls: a slow spell of the machine moves the slowest call by any factor, but not the fastest. Between runs, the machine
itself becomes faster or slower. The rows of other packages, whose code is the same in both files, measure this change.
If the machine and the software are the same in both files, their median ratio in a workload is divided out. Their
spread is part of the noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any, NamedTuple

from benchmarks.compare.change import Change, Comparison, Verdict, median_and_spread, normal_threshold, percent
from benchmarks.speed import results
from benchmarks.speed.check import OK
from benchmarks.speed.table import micro

OURS = ("deepuq_jax", "deepuq_torch")
# With fewer rows of other packages, the change of the machine cannot be separated from that of the code.
FEWEST_CONTROLS = 5
# The spread between runs that is assumed if there are fewer such rows.
ASSUMED_SPREAD = 0.1
# The logarithm of a ratio above which a change of the machine is more than a slow spell.
_LARGE_SHIFT = math.log(1.25)
# The entries of an environment that describe the machine and the software.
_MACHINE = ("backend", "device", "cores", "torch_threads", "precision", "xla_flags", "python", "versions")


class Pair(NamedTuple):
    """A row that is in both files.

    Attributes:
        workload, contestant: the names of the workload and of the contestant.
        package: the contestant's package.
        before, after: the row in each file.
        rounds: the number of timed calls in each file.
    """

    workload: str
    contestant: str
    package: str
    before: dict[str, Any]
    after: dict[str, Any]
    rounds: tuple[int, int]

    @property
    def log_ratio(self) -> float:
        """The logarithm of the ratio of the medians."""
        return math.log(self.after["median_s"] / self.before["median_s"])


def compare(before: dict[str, Any], after: dict[str, Any], is_chosen: Callable[[str, str], bool]) -> Comparison:
    """Compare the rows that are in both files.

    Args:
        before, after: result files.
        is_chosen: a function of the names of a workload and a contestant.
    Returns:
        A Comparison. A row whose check was ok before and is BAD after counts as worse.
    """
    pairs = [pair for pair in _pairs(before, after) if pair.before["check"] == OK]
    chosen = [pair for pair in pairs if is_chosen(pair.workload, pair.contestant)]
    right = [pair for pair in pairs if pair.after["check"] == OK]
    shifts, spread, notes = _machine(before, after, right)
    threshold = normal_threshold(len(chosen))
    changes = [_change(pair, shifts.get(pair.workload, 0.0), spread, threshold) for pair in chosen]
    return Comparison(changes, [*notes, *_missing(before, after, is_chosen)])


def _pairs(before: dict[str, Any], after: dict[str, Any]) -> list[Pair]:
    pairs = []
    for workload, part in before["workloads"].items():
        other = after["workloads"].get(workload, {"rows": [], "rounds": 1})
        rows = {row["contestant"]: row for row in results.timed(other)}
        for row in results.timed(part):
            if row["contestant"] in rows:
                found, rounds = rows[row["contestant"]], (part["rounds"], other["rounds"])
                pairs.append(Pair(workload, row["contestant"], row["package"], row, found, rounds))
    return pairs


def _machine(
    before: dict[str, Any], after: dict[str, Any], pairs: list[Pair]
) -> tuple[dict[str, float], float, list[str]]:
    """Estimate how the machine changed between the runs.

    Returns:
        The logarithm of the change of each workload, the spread of the rows around it, and sentences for the reader.
    """
    controls: dict[str, list[float]] = {}
    for pair in pairs:
        if pair.package not in OURS:
            controls.setdefault(pair.workload, []).append(pair.log_ratio)
    controls = {name: ratios for name, ratios in controls.items() if any(ratios)}  # Without copies of the same rows.
    shifts = {name: median_and_spread(ratios)[0] for name, ratios in controls.items() if len(ratios) >= FEWEST_CONTROLS}
    rest = [ratio - shifts[name] for name, ratios in controls.items() if name in shifts for ratio in ratios]
    differences = _differences(before, after)
    notes = [f"The runs differ in {name}: {one} and {other}." for name, (one, other) in differences.items()]
    if not rest:
        notes.append(
            f"Too few rows of other packages were measured anew to tell how the machine changed: a spread of "
            f"{100 * ASSUMED_SPREAD:g} % between runs is assumed."
        )
        return {}, ASSUMED_SPREAD, notes
    spread = median_and_spread(rest)[1]
    if differences:
        notes.append("The times are compared as they are, because the machines or the software differ.")
        return {}, spread, notes
    notes += [
        f"{name}: the times of other packages changed by {percent(shift)}, which is taken out of every row."
        for name, shift in shifts.items()
    ]
    if max(map(abs, shifts.values())) > _LARGE_SHIFT:
        notes.append("The machine was not in the same state, which hits some rows more: measure both in one session.")
    return shifts, spread, notes


def _differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return what differs in the environments of the workloads that both files have."""
    found = {}
    for name in before["workloads"].keys() & after["workloads"].keys():
        one, other = (_flat(data["workloads"][name]["environment"]) for data in (before, after))
        found |= {key: (one.get(key), other.get(key)) for key in one | other if one.get(key) != other.get(key)}
    return found


def _flat(environment: dict[str, Any]) -> dict[str, Any]:
    flat = {key: environment.get(key) for key in _MACHINE if key != "versions"}
    return {**flat, **environment.get("versions", {})}


def _change(pair: Pair, shift: float, spread: float, threshold: float) -> Change:
    before, after = pair.before, pair.after
    if after["check"] != OK:
        return Change(pair.workload, pair.contestant, _micro(before), after["check"], "", "-", Verdict.WORSE)
    noise = threshold * math.hypot(spread, *(map(_error, (before, after), pair.rounds)))
    verdict, difference = Verdict.SAME, pair.log_ratio - shift
    # The medians of few calls have heavy tails, so the fastest call of one file must also lie beyond the other median.
    if difference > noise and after["low_s"] > before["median_s"] * math.exp(shift):
        verdict = Verdict.WORSE
    elif difference < -noise and before["low_s"] * math.exp(shift) > after["median_s"]:
        verdict = Verdict.BETTER
    words = (_micro(before), _micro(after), percent(difference), percent(noise))
    return Change(pair.workload, pair.contestant, *words, verdict)


def _micro(row: dict[str, Any]) -> str:
    return f"{micro(row['median_s'])} µs"


def _error(row: dict[str, Any], rounds: int) -> float:
    """Estimate the standard error of the logarithm of a median.

    The fastest of n normal calls lies about Blom's Phi^-1((n - 0.375) / (n + 0.25)) standard deviations below the
    median, and the standard error of a median is sqrt(pi / 2 / n) standard deviations.
    """
    if rounds < 2:
        return ASSUMED_SPREAD
    fastest = NormalDist().inv_cdf((rounds - 0.375) / (rounds + 0.25))
    return math.sqrt(math.pi / 2 / rounds) * math.log(row["median_s"] / row["low_s"]) / fastest


def _missing(before: dict[str, Any], after: dict[str, Any], is_chosen: Callable[[str, str], bool]) -> list[str]:
    """Name the rows that only one file has."""
    names = [
        {
            (workload, row["contestant"])
            for workload, part in data["workloads"].items()
            for row in results.timed(part)
            if is_chosen(workload, row["contestant"])
        }
        for data in (before, after)
    ]
    both = names[0] & names[1]
    only = [("before", names[0] - both), ("after", names[1] - both)]
    return [
        f"Only in the file {which}: {len(rows)} rows, such as {': '.join(min(rows))}." for which, rows in only if rows
    ]
