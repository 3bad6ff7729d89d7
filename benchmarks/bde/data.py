"""The regression sets in the wheel of bde, and their splits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

TEST_SHARE = 0.1


class Source(NamedTuple):
    """Where a set lies in the package, and which columns it uses.

    Attributes:
        file: path in the folder `data` of the package.
        delimiter: what separates the columns; None for spaces.
        header: number of lines before the first row.
        columns: the inputs and, last, the target; None for all columns.
    """

    file: str
    delimiter: str | None = ","
    header: int = 1
    columns: tuple[int, ...] | None = None


# The columns of bike sharing are those of the benchmark in the paper of bde (paper/scripts/benchmark.py): the target is
# the count of all rentals, and the row number, the date and the counts of the two kinds of users are left out.
SOURCES = {
    "airfoil": Source("airfoil.csv"),
    "concrete": Source("concrete.data", delimiter=None, header=0),
    "bike sharing": Source("bike_sharing_dataset/hour.csv", columns=(*range(2, 14), 16)),
}


class Split(NamedTuple):
    """A split of a set, in its own units.

    Attributes:
        x, y: training inputs [n, d] and targets [n].
        test_x, test_y: test inputs [m, d] and targets [m].
    """

    x: np.ndarray
    y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


def read(name: str, package: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the inputs [n, d] and targets [n] of a set from the folder of the package bde."""
    source = SOURCES[name]
    rows = np.genfromtxt(
        package / "data" / source.file,
        delimiter=source.delimiter,
        skip_header=source.header,
        usecols=source.columns,
    )
    return rows[:, :-1], rows[:, -1]


def splits(x: np.ndarray, y: np.ndarray, *, count: int, seed: int) -> Iterator[Split]:
    """Draw random splits, each with a tenth of the rows as test rows.

    >>> first, second = splits(np.zeros((20, 3)), np.arange(20.0), count=2, seed=0)
    >>> first.x.shape, first.test_x.shape, sorted([*first.y, *first.test_y]) == list(range(20))
    ((18, 3), (2, 3), True)
    """
    held = max(1, round(TEST_SHARE * len(y)))
    for i in range(count):
        order = np.random.default_rng([seed, i]).permutation(len(y))
        test, train = order[:held], order[held:]
        yield Split(x[train], y[train], x[test], y[test])
