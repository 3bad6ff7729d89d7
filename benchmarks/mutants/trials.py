"""Run the tests on one mutant after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.mutants.results import Result, append
from benchmarks.mutants.sample import Mutant
from benchmarks.mutants.subjects import Subject
from benchmarks.mutants.workshop import Outcome, Workshop

QUICK, THOROUGH = "not slow and not long", "not long"
# A run of tests on a mutant is stopped after `_PATIENCE` times the duration of the same run on the unchanged copy, but
# not before `_SHORTEST_LIMIT_S`. The factor is large because a busy machine makes both durations vary.
_PATIENCE, _SHORTEST_LIMIT_S = 6.0, 60.0
_LONGEST_BASELINE_S = 1800.0


class Trials:
    """Tries mutants of several subjects, each with the tests of its subject.

    Before a set of tests first runs on a mutant, it runs on the unchanged copy. The tests must pass there, and their
    duration sets the time limit.

    Args:
        workshop: the copy of the checkout in which the tests run.
        subjects: the subjects, keyed by name.
    """

    def __init__(self, workshop: Workshop, subjects: Mapping[str, Subject]) -> None:
        self._workshop = workshop
        self._subjects = subjects
        self._limits: dict[tuple[str, str], float] = {}

    def outcome(self, mutant: Mutant) -> Outcome:
        """Run the doctests and the quick tests of a mutant's file; if all pass, also run the thorough tests.

        The thorough tests include the slow ones in the quick files.
        """
        subject = self._subjects[mutant.subject]
        first = subject.first(self._workshop.root, mutant.file)
        quick_limit = self._limit(first, QUICK) if first else _SHORTEST_LIMIT_S
        with self._workshop.mutated(mutant.file, mutant.source):
            quick = self._workshop.test((mutant.file, *first), QUICK, quick_limit)
        if quick.verdict not in ("survived", "untested"):
            return quick
        every = tuple(dict.fromkeys((*first, *subject.thorough)))
        thorough_limit = self._limit(every, THOROUGH)
        with self._workshop.mutated(mutant.file, mutant.source):
            thorough = self._workshop.test(every, THOROUGH, thorough_limit)
        return Outcome(thorough.verdict, thorough.by, quick.seconds + thorough.seconds)

    def _limit(self, paths: tuple[str, ...], marks: str) -> float:
        key = (" ".join(sorted(paths)), marks)
        if key not in self._limits:
            unchanged = self._workshop.test(paths, marks, _LONGEST_BASELINE_S)
            if unchanged.verdict not in ("survived", "untested"):
                raise RuntimeError(
                    f"Expected the tests in {', '.join(paths)} to pass without a mutant; got {unchanged.verdict} "
                    f"{unchanged.by}. Mend them first."
                )
            self._limits[key] = max(_SHORTEST_LIMIT_S, _PATIENCE * unchanged.seconds)
        return self._limits[key]


def run(
    trials: Trials, mutants: Sequence[Mutant], path: Path, *, stop: Callable[[], bool], show: Callable[[str], None]
) -> None:
    """Try mutants in turn, and record each result before the next trial begins.

    Args:
        trials: runs the tests on a mutant.
        mutants: the mutants to try, in order.
        path: the file of results.
        stop: called before each mutant; the run ends if it returns True.
        show: called with one line of progress after each mutant.
    """
    for number, mutant in enumerate(mutants, start=1):
        if stop():
            return
        outcome = trials.outcome(mutant)
        append(path, Result.of(mutant, outcome))
        show(
            f"{number} of {len(mutants)}: {outcome.verdict} in {outcome.seconds:.0f} s, "
            f"{mutant.file}:{mutant.line}: {mutant.before} -> {mutant.after}"
        )
