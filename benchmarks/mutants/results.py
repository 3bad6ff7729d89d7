"""The file of results: a line of JSON per mutant tried."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.mutants.sample import Mutant
from benchmarks.mutants.workshop import Outcome


@dataclass(frozen=True)
class Result:
    """A mutant and how its tests ended.

    Attributes:
        name, subject, file, operator, before, after: as in `Mutant`.
        verdict, by, seconds: as in `Outcome`.
    """

    name: str
    subject: str
    file: str
    operator: str
    before: str
    after: str
    verdict: str
    by: str
    seconds: float

    @classmethod
    def of(cls, mutant: Mutant, outcome: Outcome) -> Result:
        """Join a mutant and its outcome."""
        return cls(
            mutant.name,
            mutant.subject,
            mutant.file,
            mutant.operator,
            mutant.before,
            mutant.after,
            outcome.verdict,
            outcome.by,
            round(outcome.seconds, 1),
        )


def append(path: Path, result: Result) -> None:
    """Write a result to the disk at once, so that an interruption loses none."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(result)) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> dict[str, Result]:
    """Read the last result of each mutant, by its name.

    A last line that was cut off by an interruption is removed from the file, and its mutant counts as not tried.
    """
    return {result.name: result for result in _lines(path)}


def read_first(path: Path) -> dict[str, Result]:
    """Read the first result of each mutant, from before tests were added for it."""
    return {result.name: result for result in reversed(_lines(path))}


def _lines(path: Path) -> list[Result]:
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    return [Result(**json.loads(line)) for line in whole.splitlines()]
