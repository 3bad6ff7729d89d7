"""Small files in the formats of the real data."""

import gzip
import struct

import numpy as np


def write_regression(folder, name="made", *, rows=60, inputs=2, splits=3, noise=0.1):
    """Write a noisy linear function of the first input, in units far from 1; each split has different test rows."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, inputs)) * 10 + 50
    y = 300 + 20 * ((x[:, 0] - 50) / 10 + noise * rng.normal(size=rows))
    test_index = np.stack([rng.permutation(rows)[: rows // 10] for _ in range(splits)]).astype(np.int32)
    (folder / "uci").mkdir(parents=True, exist_ok=True)
    np.savez(folder / "uci" / f"{name}.npz", x=x, y=y, test_index=test_index)


def write_idx(path, values):
    """Write a gzipped IDX file of bytes."""
    header = struct.pack(f">{values.ndim + 1}I", 2048 + values.ndim, *values.shape)
    path.write_bytes(gzip.compress(header + values.astype(np.uint8).tobytes()))


def write_mnist(folder, *, name="mnist", train=240, test=60):
    """Write images with a bright row whose position gives the label, which a network learns in a few steps."""
    rng = np.random.default_rng(0)
    (folder / name).mkdir(parents=True, exist_ok=True)
    for part, size in (("train", train), ("t10k", test)):
        labels = rng.integers(0, 10, size)
        images = rng.integers(0, 30, (size, 28, 28))
        images[np.arange(size), 2 + 2 * labels] = 255
        write_idx(folder / name / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(folder / name / f"{part}-labels-idx1-ubyte.gz", labels)


def write_classification(folder, name="labels", *, rows=60, inputs=2, classes=3, splits=2):
    """Write inputs in units far from 1, and labels that number the parts of the first input's range."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(rows, inputs)) * 10 + 50
    y = np.minimum((x[:, 0] - 50) / 10 * classes, classes - 1).astype(np.int64)
    test_index = np.stack([rng.permutation(rows)[: rows // 5] for _ in range(splits)]).astype(np.int32)
    (folder / "tabular").mkdir(parents=True, exist_ok=True)
    np.savez(folder / "tabular" / f"{name}.npz", x=x, y=y, test_index=test_index)
