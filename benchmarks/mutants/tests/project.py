"""A small checkout with faults to find."""

import subprocess
from pathlib import Path

from benchmarks.mutants.sample import Mutant, draw
from benchmarks.mutants.subjects import Subject

AREA = '''
"""Areas."""


def area(a: int | None, b, *, factor=1):
    """No 1 + 1 in here."""
    if a is None:
        return 0
    return a * b * factor


def unused(a):
    return a - 5
'''
TESTS = """
from shapes.area import area


def test_area():
    assert area(2, 3) == 6
    assert area(2, 3, factor=5) == 30
    assert area(None, 3) == 0
"""
SLOW = """
import time


def test_never_ends():
    time.sleep(600)
"""
SLOW_BUT_GOOD = """
import pytest
from shapes.area import unused


@pytest.mark.slow
def test_unused():
    assert unused(7) == 2
"""
FILES = {"shapes/area.py": AREA, "counts/count.py": "def twice(n):\n    return 2 * n + 0\n", "test_shapes.py": TESTS}
SUBJECTS = (
    Subject("shapes", ("shapes/*.py",), ("test_shapes.py",), ("test_shapes.py",)),
    Subject("counts", ("counts/*.py",), ("test_shapes.py",), ("test_shapes.py",)),
)


def write(root: Path, files: dict[str, str] | None = None) -> Path:
    """Write the checkout, a git repository, and return its root."""
    for name, text in (FILES if files is None else files).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    return root


def mutant(root: Path, before: str, after: str) -> Mutant:
    """Return the mutant of the shapes that turns one line into another."""
    drawn = {
        (found.before, found.after): found for seed in range(20) for found in draw(root, SUBJECTS[:1], 8, seed).mutants
    }
    return drawn[before, after]
