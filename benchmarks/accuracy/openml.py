"""Data from OpenML through scikit-learn, which keeps what it has fetched in its own folder."""

from __future__ import annotations

from typing import Any

import numpy as np

# Name of a set here -> name and version there, and how many of the last columns are left out as further targets.
REGRESSION: dict[str, tuple[str, int]] = {
    "bostonHousing": ("boston", 1),
    "wine-quality-red": ("wine-quality-red", 1),
}


class OfflineError(ConnectionError):
    """The data could not be fetched."""


def fetch(name: str, version: int) -> Any:
    """A set of OpenML as arrays, `data` and `target`.

    Raises:
        OfflineError: OpenML does not answer. ImportError: no scikit-learn.
    """
    try:
        from sklearn.datasets import fetch_openml
    except ImportError as error:
        raise ImportError("Data from OpenML need scikit-learn: pip install 'deepuq-jax[demo]'.") from error
    try:
        return fetch_openml(name, version=version, as_frame=False, parser="liac-arff")
    except OSError as error:
        raise OfflineError(
            f"Expected OpenML to answer for {name}; got {error}. Without a connection give a folder of data: "
            "--data-dir DIR, or the environment variable DEEPUQ_DATA, with DIR/uci/<name>.npz and DIR/mnist/*-ubyte.gz."
        ) from error


def fetch_regression(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs [n, d] and targets [n]."""
    if name not in REGRESSION:
        raise ValueError(f"Expected a set that OpenML is asked for ({', '.join(sorted(REGRESSION))}); got {name}.")
    found = fetch(*REGRESSION[name])
    return np.asarray(found.data, np.float64), np.asarray(found.target, np.float64)


def fetch_mnist() -> tuple[np.ndarray, np.ndarray]:
    """Images [70000, 784] uint8 and labels [70000], the first 60,000 to train on."""
    found = fetch("mnist_784", 1)
    return np.asarray(found.data).astype(np.uint8), np.asarray(found.target).astype(np.int32)
