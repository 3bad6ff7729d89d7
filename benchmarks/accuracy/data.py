"""The data sets, from a folder or from OpenML.

A folder holds `uci/<name>.npz` for regression and `tabular/<name>.npz` for classification, with the arrays `x` [n, d],
`y` [n] and `test_index` [splits, n_test]; rows that are not test rows are training rows. It also holds the original IDX
files `mnist/*-ubyte.gz` and `fashion-mnist/*-ubyte.gz`.
"""

from __future__ import annotations

import gzip
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.accuracy import openml

ENVIRONMENT = "DEEPUQ_DATA"
IMAGES_MAGIC, LABELS_MAGIC = 2051, 2049


@dataclass(frozen=True)
class DataSet:
    """A data set with its splits.

    Attributes:
        name: name of the set.
        x: raw inputs [n, d].
        y: raw targets or labels [n].
        test_index: test rows [splits, n_test].
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    test_index: np.ndarray

    def __post_init__(self):
        n = len(self.y)
        if self.x.ndim != 2 or self.x.shape[0] != n or self.y.ndim != 1:
            raise ValueError(f"Expected x [n, d] and y [n] in {self.name}; got {self.x.shape} and {self.y.shape}.")
        index = self.test_index
        if index.ndim != 2 or not np.issubdtype(index.dtype, np.integer) or index.min() < 0 or index.max() >= n:
            raise ValueError(f"Expected test_index [splits, n_test] of rows of {self.name}; got {index.shape}.")
        if any(len(np.unique(row)) < len(row) for row in index):
            raise ValueError(f"Expected each row once in a split of {self.name}; got a row twice.")
        if not (np.isfinite(self.x).all() and np.isfinite(self.y).all()):
            raise ValueError(f"Expected finite numbers in {self.name}; got NaN or infinity.")

    def train_index(self) -> np.ndarray:
        """Training rows [splits, n - n_test]."""
        rows = np.arange(len(self.y))
        return np.stack([np.setdiff1d(rows, test) for test in self.test_index])


class RegressionSet(DataSet):
    """A regression set with its splits."""


class ClassificationSet(DataSet):
    """A classification set with its splits; labels are whole numbers from 0."""

    def __post_init__(self):
        super().__post_init__()
        if not np.issubdtype(self.y.dtype, np.integer) or self.y.min() < 0 or self.y.max() == 0:
            found = f"{self.y.dtype} from {self.y.min()} to {self.y.max()}"
            raise ValueError(f"Expected integer labels from 0 of at least two classes in {self.name}; got {found}.")

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.y.max()) + 1


@dataclass(frozen=True)
class Mnist:
    """MNIST or Fashion-MNIST: raw grey images [n, 784] (uint8), and int32 labels."""

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


def data_dir(given: Path | None) -> Path | None:
    """Return the given folder, or that of `DEEPUQ_DATA`, or None for OpenML.

    Raises:
        FileNotFoundError: if the folder does not exist.
    """
    text = os.environ.get(ENVIRONMENT, "")
    folder = given
    if folder is None and text:
        folder = Path(text)
    if folder is not None and not folder.is_dir():
        raise FileNotFoundError(f"Expected a folder of data at {folder}; got none there.")
    return folder


def regression_names(folder: Path | None) -> list[str]:
    """List the sets of the folder, or of OpenML."""
    if folder is None:
        return sorted(openml.REGRESSION)
    return _names(folder / "uci")


def load_regression(name: str, folder: Path | None) -> RegressionSet:
    """Load a regression set.

    Raises:
        FileNotFoundError: if the folder has no such file.
        ValueError: if the contents of the file are invalid.
    """
    if folder is None:
        x, y = openml.fetch_regression(name)
        return RegressionSet(name, x, y, standard_splits(len(y)))
    x, y, test_index = _read_set(folder / "uci", name)
    return RegressionSet(name, x, y.astype(np.float64), test_index)


def classification_names(folder: Path) -> list[str]:
    """List the classification sets of the folder."""
    return _names(folder / "tabular")


def load_classification(name: str, folder: Path) -> ClassificationSet:
    """Load a classification set.

    Raises:
        FileNotFoundError: if the folder has no such file.
        ValueError: if the contents of the file are invalid.
    """
    x, y, test_index = _read_set(folder / "tabular", name)
    if (y == np.round(y)).all():  # Labels may be stored as floats or booleans.
        y = y.astype(np.int64)
    return ClassificationSet(name, x, y, test_index)


def _names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.npz"))


def _read_set(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read (x, y, test_index); x is float64."""
    path = folder / f"{name}.npz"
    if not path.exists():
        found = ", ".join(_names(folder)) or "none"
        raise FileNotFoundError(f"Expected a set of {folder} ({found}); got {name}.")
    with np.load(path) as file:
        missing = {"x", "y", "test_index"} - set(file)
        if missing:
            raise ValueError(f"Expected x, y and test_index in {path}; got no {', '.join(sorted(missing))}.")
        return file["x"].astype(np.float64), file["y"], file["test_index"]


def standard_splits(n: int, splits: int = 20) -> np.ndarray:
    """Test rows of the standard splits, [splits, n_test].

    Source: the random 90/10 splits of Hernandez-Lobato & Adams 2015 (arXiv 1502.05336).

    >>> standard_splits(308).shape
    (20, 31)
    """
    # The published splits were drawn with this generator.
    random = np.random.RandomState(1)
    return np.stack([random.permutation(n)[round(0.9 * n) :] for _ in range(splits)])


def load_mnist(folder: Path | None, name: str = "mnist") -> Mnist:
    """Load MNIST, or a set of the same form: "fashion-mnist".

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is not IDX.
    """
    if folder is None:
        x, y = openml.fetch_images(name)
        return Mnist(x[:60_000], y[:60_000], x[60_000:], y[60_000:])

    def images(part: str) -> np.ndarray:
        return read_idx(folder / name / f"{part}-images-idx3-ubyte.gz").reshape(-1, 784)

    def labels(part: str) -> np.ndarray:
        return read_idx(folder / name / f"{part}-labels-idx1-ubyte.gz").astype(np.int32)

    return Mnist(images("train"), labels("train"), images("t10k"), labels("t10k"))


def hold_out(images: tuple[np.ndarray, np.ndarray], most: int) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Set the last images and labels aside for validation: `most` of them, but at most a sixth of all.

    >>> fitted, held = hold_out((np.zeros((12, 4)), np.arange(12)), 10)
    >>> fitted[1].size, held[1].tolist()
    (10, [10, 11])
    """
    held = min(most, len(images[1]) // 6)
    return tuple(part[:-held] for part in images), tuple(part[-held:] for part in images)


def read_idx(path: Path) -> np.ndarray:
    """Read a gzipped IDX file of bytes.

    The file holds images [n, rows, columns] or labels [n].
    """
    if not path.exists():
        raise FileNotFoundError(f"Expected the IDX file {path}; got none there.")
    content = gzip.decompress(path.read_bytes())
    magic = struct.unpack(">I", content[:4])[0]
    if magic not in (IMAGES_MAGIC, LABELS_MAGIC):
        raise ValueError(f"Expected an IDX file of bytes at {path}; got magic number {magic}.")
    axes = magic % 256
    shape = struct.unpack(f">{axes}I", content[4 : 4 + 4 * axes])
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
