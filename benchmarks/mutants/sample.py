"""A seeded, stratified sample of mutants."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mutants.positions import Position, positions
from benchmarks.mutants.subjects import Subject


@dataclass(frozen=True)
class Mutant:
    """A source file with one small fault.

    Attributes:
        subject: name of the group that the file belongs to.
        file: path from the root of the checkout.
        line: the line of the fault in the unchanged file, counted from one.
        operator: the operator of cosmic-ray that made the fault.
        before, after: the lines that differ, without indentation.
        nth: the number of earlier places in the file with the same kind of change, line of text and column.
        source: the whole mutated file.
    """

    subject: str
    file: str
    line: int
    operator: str
    before: str
    after: str
    nth: int
    source: str

    @property
    def name(self) -> str:
        """Identify the mutant even after the other lines of the file have changed."""
        return _digest(self.file, self.operator, self.before, self.after, self.nth)[:12]


@dataclass(frozen=True)
class Sample:
    """Mutants to try, and how many there could be.

    Attributes:
        mutants: in the order to try them; each initial part of it is spread over the subjects like the whole.
        population: the number of places that can be mutated, keyed by the name of the subject.
    """

    mutants: tuple[Mutant, ...]
    population: dict[str, int]


def draw(root: Path, subjects: Sequence[Subject], size: int, seed: int) -> Sample:
    """Draw places at random, and one change in each.

    The subjects get shares of the sample in proportion to their numbers of places. Each place has a number from a hash
    of the seed and of its line, and the lowest numbers are drawn. So a larger sample usually contains the smaller one,
    and an edit of one line leaves nearly all mutants of the other lines in the sample.

    Args:
        root: the root of the checkout.
        subjects: the strata.
        size: number of mutants.
        seed: determines which places and changes are drawn.
    """
    places = {subject.name: _ranked(root, subject, seed) for subject in subjects}
    population = {name: len(ranked) for name, ranked in places.items()}
    ranked_mutants: list[tuple[float, Mutant]] = []
    for name, quota in _quotas(population, size).items():
        mutants = _first_valid(root, name, places[name], quota, seed)
        ranked_mutants += [((rank + 0.5) / quota, mutant) for rank, mutant in enumerate(mutants)]
    ordered = sorted(ranked_mutants, key=lambda pair: (pair[0], pair[1].name))
    return Sample(tuple(mutant for _, mutant in ordered), population)


def _ranked(root: Path, subject: Subject, seed: int) -> list[tuple[str, Position]]:
    found = [
        (file, place) for file in subject.files(root) for place in positions((root / file).read_text(encoding="utf-8"))
    ]
    return sorted(found, key=lambda pair: _digest(seed, pair[0], *pair[1].name))


def _quotas(population: dict[str, int], size: int) -> dict[str, int]:
    """Divide `size` in proportion to the populations, by the largest remainders.

    >>> _quotas({"a": 10, "b": 20, "c": 31}, 6)
    {'a': 1, 'b': 2, 'c': 3}
    """
    total = sum(population.values())
    if not 0 < size <= total:
        raise ValueError(f"Expected size from 1 to {total}, the number of places that can be mutated; got {size}.")
    quotas = {name: size * count // total for name, count in population.items()}
    by_remainder = sorted(population, key=lambda name: (-(size * population[name] % total), name))
    for name in by_remainder[: size - sum(quotas.values())]:
        quotas[name] += 1
    return quotas


def _first_valid(
    root: Path, subject: str, ranked: Sequence[tuple[str, Position]], quota: int, seed: int
) -> list[Mutant]:
    """Make the mutants of the first places, and skip places where no change gives a valid, different program."""
    found: list[Mutant] = []
    for file, place in ranked:
        if len(found) == quota:
            break
        source = (root / file).read_text(encoding="utf-8")
        for change in sorted(place.changes, key=lambda change: _digest(seed, file, *place.name, *change)):
            mutated = change.apply(source)
            if mutated is not None:
                before, after = _difference(source, mutated)
                nth = place.name[3]
                found.append(Mutant(subject, file, place.line, change.operator, before, after, nth, mutated))
                break
    return found


def _difference(source: str, mutated: str) -> tuple[str, str]:
    lines = [
        line
        for line in difflib.unified_diff(source.splitlines(), mutated.splitlines(), n=0, lineterm="")
        if not line.startswith(("---", "+++", "@@"))
    ]
    sides = [" ".join(line[1:].strip() for line in lines if line[0] == sign) for sign in "-+"]
    return sides[0], sides[1]


def _digest(*parts: object) -> str:
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()
