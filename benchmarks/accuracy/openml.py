"""Data from OpenML through scikit-learn, which keeps fetched data in its own folder."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Source(NamedTuple):
    """A set of OpenML: name, version, number of rows and of targets.

    The last `targets` columns are targets; the benchmark uses the first of these.
    """

    name: str
    version: int
    rows: int
    targets: int = 1


REGRESSION = {
    "bostonHousing": Source("boston", 1, 506),
    "concrete": Source("Concrete_Data", 1, 1030),
    "energy": Source("energy-efficiency", 1, 768, targets=2),
    "wine-quality-red": Source("wine-quality-red", 1, 1599),
    "yacht": Source("yacht_hydrodynamics", 1, 308),
}


IMAGES = {"mnist": "mnist_784", "fashion-mnist": "Fashion-MNIST"}


class OfflineError(ConnectionError):
    """The data could not be fetched."""


def fetch(name: str, version: int, **options: Any) -> Any:
    """Fetch a set of OpenML as arrays, `data` and `target`.

    Raises:
        OfflineError: if OpenML does not answer.
        ImportError: if scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import fetch_openml
    except ImportError as error:
        raise ImportError("Data from OpenML need scikit-learn: pip install 'deepuq-jax[demo]'.") from error
    try:
        return fetch_openml(name, version=version, as_frame=False, parser="liac-arff", **options)
    except OSError as error:
        raise OfflineError(
            f"Expected OpenML to answer for {name}; got {error}. Without a connection give a folder of data: "
            "--data-dir DIR, or the environment variable DEEPUQ_DATA, with DIR/uci/<name>.npz and DIR/mnist/*-ubyte.gz."
        ) from error


def fetch_regression(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Fetch inputs [n, d] and targets [n].

    Raises:
        ValueError: if the name is not in `REGRESSION`, or the fetched set has another number of rows.
    """
    if name not in REGRESSION:
        raise ValueError(f"Expected the name of a known set ({', '.join(sorted(REGRESSION))}); got {name}.")
    source = REGRESSION[name]
    # Fetch every column as data, since not all of the sets mark their target.
    columns = np.asarray(fetch(source.name, source.version, target_column=None).data, np.float64)
    if len(columns) != source.rows:
        raise ValueError(
            f"Expected {source.rows} rows of {name}, so that the splits are the published ones; got {len(columns)}."
        )
    return columns[:, : -source.targets], columns[:, -source.targets]


def fetch_images(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Fetch images [70000, 784] (uint8) and labels [70000] of a set in `IMAGES`.

    The first 60,000 are the training images.
    """
    found = fetch(IMAGES[name], 1)
    return np.asarray(found.data).astype(np.uint8), np.asarray(found.target).astype(np.int32)
