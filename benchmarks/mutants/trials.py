"""Run the tests on one mutant after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.mutants.results import Result, append
from benchmarks.mutants.sample import Mutant
from benchmarks.mutants.subjects import Subject
from benchmarks.mutants.workshop import Outcome, Workshop

QUICK, THOROUGH = "not slow and not long", "not long"
# A mutant is stopped after this many times what the tests take without one; a busy machine makes both times uneven.
_PATIENCE, _SHORTEST_LIMIT_S = 6.0, 60.0
_LONGEST_BASELINE_S = 1800.0


class Trials:
    """Tries mutants of several subjects, each with the tests of its subject.

    Before a subject's first mutant, its tests run on the unchanged copy. They must pass, and the time that they take
    sets the time limit.

    Args:
        workshop: where the tests run.
        subjects: by name.
    """

    def __init__(self, workshop: Workshop, subjects: Mapping[str, Subject]) -> None:
        self._workshop = workshop
        self._subjects = subjects
        self._limits: dict[tuple[str, str], float] = {}

    def outcome(self, mutant: Mutant) -> Outcome:
        """Run the doctests of a mutant's file and its quick tests, and the thorough ones if these all pass."""
        subject = self._subjects[mutant.subject]
        first = subject.first(self._workshop.root, mutant.file)
        quick_limit = self._limit(first, QUICK) if first else _SHORTEST_LIMIT_S
        with self._workshop.mutated(mutant.file, mutant.source):
            quick = self._workshop.test((mutant.file, *first), QUICK, quick_limit)
        if quick.verdict not in ("survived", "untested"):
            return quick
        thorough_limit = self._limit(subject.thorough, THOROUGH)
        with self._workshop.mutated(mutant.file, mutant.source):
            thorough = self._workshop.test(subject.thorough, THOROUGH, thorough_limit)
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
    """Try mutants until all are done, and write each result down before the next begins.

    Args:
        trials: decides on a mutant.
        mutants: those to try, in order.
        path: the file of results.
        stop: asked before each mutant; True ends the run.
        show: takes a line for people to read.
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
