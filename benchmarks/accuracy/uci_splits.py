"""Splits of a regression set, standardized and stacked so that they can train in one program."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from benchmarks.accuracy.data import RegressionSet

VALIDATION_SHARE = 0.2
# One fifth of 450 rows is too little to find the better of two recipes; all five fifths would nearly double the cost.
FOLDS = 3


class Splits(NamedTuple):
    """Splits of equal sizes, standardized by their training rows.

    The held-out targets keep their units.

    Attributes:
        x: training inputs [splits, n, d].
        y: training targets [splits, n, 1].
        held_x: held-out inputs [splits, m, d].
        held_y: held-out targets [splits, m], in their own units.
        y_mean, y_std: mean and standard deviation of the training targets [splits], to convert back to those units.
    """

    x: np.ndarray
    y: np.ndarray
    held_x: np.ndarray
    held_y: np.ndarray
    y_mean: np.ndarray
    y_std: np.ndarray

    def take(self, rows: np.ndarray) -> Splits:
        """Take some of the splits."""
        return Splits(*(part[rows] for part in self))


def test_splits(data: RegressionSet) -> Splits:
    """Stack all training rows of each split, and its test rows."""
    return _stack(data, data.train_index(), data.test_index)


def validation_splits(data: RegressionSet, *, seed: int) -> Splits:
    """Divide each training split at random, for validation.

    Test rows are in neither part.

    Returns:
        FOLDS divisions of every split, each with a different fifth held out. The first divisions of all splits come
        first, then the second divisions of all splits, and so on.
    """
    order = np.stack([np.random.default_rng([seed, i]).permutation(row) for i, row in enumerate(data.train_index())])
    held = max(1, round(VALIDATION_SHARE * order.shape[1]))
    folds = [np.roll(order, -held * fold, axis=1) for fold in range(FOLDS)]
    order = np.concatenate(folds)
    return _stack(data, order[:, held:], order[:, :held])


def _stack(data: RegressionSet, train: np.ndarray, held: np.ndarray) -> Splits:
    x, y = data.x[train], data.y[train]
    x_mean, x_std = x.mean(axis=1, keepdims=True), _spread(x.std(axis=1, keepdims=True))
    y_mean, y_std = y.mean(axis=1), _spread(y.std(axis=1))
    return Splits(
        np.asarray((x - x_mean) / x_std, np.float32),
        np.asarray((y - y_mean[:, None]) / y_std[:, None], np.float32)[..., None],
        np.asarray((data.x[held] - x_mean) / x_std, np.float32),
        data.y[held],
        y_mean,
        y_std,
    )


def _spread(std: np.ndarray) -> np.ndarray:
    """Replace 0 by 1: a constant column is only centred."""
    return np.where(std > 0, std, 1.0)
