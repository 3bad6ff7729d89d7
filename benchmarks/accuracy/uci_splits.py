"""Splits of a regression set, standardised by their training rows, stacked so that they train in one program."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from benchmarks.accuracy.data import RegressionSet

VALIDATION_SHARE = 0.2
# One fifth of 450 rows says little about which of two recipes is better; all five would cost as much again.
FOLDS = 3


class Splits(NamedTuple):
    """Splits of equal sizes; inputs and training targets are standardised by the training rows alone.

    Attributes:
        x: training inputs [splits, n, d]. y: their targets [splits, n, 1].
        held_x: inputs that are held out [splits, m, d].
        held_y: their targets [splits, m], in their own units.
        y_mean, y_std: of the training targets [splits], to come back to those units.
    """

    x: np.ndarray
    y: np.ndarray
    held_x: np.ndarray
    held_y: np.ndarray
    y_mean: np.ndarray
    y_std: np.ndarray

    def take(self, rows: np.ndarray) -> Splits:
        """Some of the splits."""
        return Splits(*(part[rows] for part in self))


def test_splits(data: RegressionSet) -> Splits:
    """The whole of each training split, and its test rows."""
    return _stack(data, data.train_index(), data.test_index)


def validation_splits(data: RegressionSet, *, seed: int) -> Splits:
    """Each training split divided once more at random: a part to train on, a fifth to choose by. No test row is in.

    Returns:
        FOLDS of them of every split, each with a fifth of its own: the splits in turn, then all of them again.
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
    single = lambda values: np.asarray(values, np.float32)
    return Splits(
        single((x - x_mean) / x_std),
        single((y - y_mean[:, None]) / y_std[:, None])[..., None],
        single((data.x[held] - x_mean) / x_std),
        data.y[held],
        y_mean,
        y_std,
    )


def _spread(std: np.ndarray) -> np.ndarray:
    """A constant column has no spread: it is centred only."""
    return np.where(std > 0, std, 1.0)
