"""Single splits of tabular sets, scaled by their training rows."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from benchmarks.accuracy.data import ClassificationSet, DataSet, RegressionSet
from benchmarks.accuracy.uci_score import Draws
from deepuq_jax.standardized import mean_and_std

VALIDATION_SHARE = 0.2


class LabelledSplit(NamedTuple):
    """A split of a classification set; inputs are standardized by the training rows.

    Attributes:
        x, y: training inputs [n, d] and labels [n].
        test_x, test_y: test inputs [m, d] and labels [m].
        classes: number of classes, of which the training rows may lack some.
    """

    x: np.ndarray
    y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    classes: int


class RealSplit(NamedTuple):
    """A split of a regression set; inputs and training targets are standardized by the training rows.

    Attributes:
        x, y: training inputs [n, d] and standardized targets [n].
        test_x, test_y: test inputs [m, d], and targets [m] in their own units.
        y_mean, y_std: mean and standard deviation of the training targets, to convert back to those units.
    """

    x: np.ndarray
    y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    y_mean: float
    y_std: float

    def in_own_units(self, draws: Draws) -> Draws:
        """Convert standardized draws to the units of the test targets."""
        mean, var = np.asarray(draws.mean, np.float64), np.asarray(draws.var, np.float64)
        return Draws(mean * self.y_std + self.y_mean, var * self.y_std**2)


def labelled_splits(data: ClassificationSet, count: int) -> Iterator[LabelledSplit]:
    """The first splits of a classification set."""
    for train, test in zip(data.train_index()[:count], data.test_index[:count], strict=True):
        yield _labelled(data.x, data.y, train, test, data.classes)


def real_splits(data: RegressionSet, count: int) -> Iterator[RealSplit]:
    """The first splits of a regression set."""
    for train, test in zip(data.train_index()[:count], data.test_index[:count], strict=True):
        yield _real(data.x, data.y, train, test)


def labelled_validation(split: LabelledSplit, seed: int) -> LabelledSplit:
    """Divide the training rows at random; test rows are in neither part."""
    return _labelled(split.x, split.y, *_hold_out(len(split.y), seed), split.classes)


def real_validation(split: RealSplit, seed: int) -> RealSplit:
    """Divide the training rows at random; test rows are in neither part.

    The result's own units are the standardized units of the given split.
    """
    return _real(split.x, split.y, *_hold_out(len(split.y), seed))


def checksum(data: DataSet) -> int:
    """A number that distinguishes sets of the same name."""
    total = 0
    for part in (data.x, data.y, data.test_index):
        total = zlib.crc32(np.ascontiguousarray(part).tobytes(), total)
    return total


def _hold_out(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng(seed).permutation(rows)
    held = max(1, round(VALIDATION_SHARE * rows))
    return order[held:], order[:held]


def _scaled(x: np.ndarray, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, std = mean_and_std(x[train])
    return (x[train] - mean) / std, (x[test] - mean) / std


def _labelled(x: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray, classes: int) -> LabelledSplit:
    inputs, test_inputs = _scaled(x, train, test)
    return LabelledSplit(inputs, y[train], test_inputs, y[test], classes)


def _real(x: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray) -> RealSplit:
    inputs, test_inputs = _scaled(x, train, test)
    (mean,), (std,) = mean_and_std(y[train])
    return RealSplit(inputs, (y[train] - mean) / std, test_inputs, y[test], float(mean), float(std))
