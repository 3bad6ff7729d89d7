"""Mixed precision on MNIST: `fit` with its defaults, in two dtypes of the computation."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

import deepuq_jax as dq
from benchmarks.accuracy.data import data_dir, load_mnist
from benchmarks.accuracy.mnist_recipe import CLASSES, PIXEL_SCALE
from benchmarks.accuracy.mnist_score import scores
from benchmarks.accuracy.report import environment, table
from parity_tests import backend, markers

DTYPES = ("float32", "bfloat16")
HIDDEN, BATCH, QUICK_EPOCHS = (400, 400), 1000, 1


def measure(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    *,
    dtype: str,
    seed: int,
    epochs: int | None,
) -> dict[str, Any]:
    """Train and predict in a dtype.

    Args:
        train, test: scaled images [n, pixels] and labels [n].
        dtype: the dtype in which the model computes.
        seed: the seed of the initial weights, the order of the data and the noise; the same for all dtypes.
        epochs: number of epochs; None for the default of `fit`.
    Returns:
        the dtype, the seed, the error in %, the NLL in nats, and the number of epochs and seconds of training.
    """
    model_key, fit_key, key = jax.random.split(jax.random.key(seed), 3)
    sizes = train[0].shape[1], HIDDEN, CLASSES
    model = dq.BayesByBackpropMLP(*sizes, likelihood=dq.Categorical(), rngs=nnx.Rngs(model_key))
    start = time.perf_counter()
    fitted = dq.fit(model, *train, key=fit_key, epochs=epochs, compute_dtype=dtype)
    seconds = time.perf_counter() - start
    result = dq.predict_vi_uq(fitted.model, test[0], key=key, batch_size=BATCH, compute_dtype=dtype)
    found = scores(result, test[1])
    return {
        "dtype": dtype,
        "seed": seed,
        "epochs": len(fitted.history["loss"]),
        "seconds": round(seconds, 1),
        "error": found["error"],
        "nll": found["nll"],
    }


def as_markdown(record: dict[str, Any]) -> str:
    """Return the table of the page, between its markers."""
    header = ["MNIST, 784-400-400-10, nothing else set", "seed", "epochs", "test error, %", "NLL, nats"]
    rows = [
        [row["dtype"], str(row["seed"]), str(row["epochs"]), f"{row['error']:.2f}", f"{row['nll']:.4f}"]
        for row in record["rows"]
    ]
    return markers.block("precision", [table(header, rows)])


def main(argv: list[str]) -> None:
    """Measure every dtype, and write the record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks accuracy precision", description=__doc__)
    parser.add_argument("--data-dir", type=Path, help="folder of the data (default: $DEEPUQ_DATA, else from OpenML)")
    parser.add_argument("--json", type=Path, help="write the record here")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random numbers (default 0)")
    parser.add_argument("--quick", action="store_true", help="train for one epoch, to see that everything works")
    backend.add_option(parser)
    args = backend.parse(parser, argv)
    data = load_mnist(data_dir(args.data_dir))
    train, test = (
        (x.astype(np.float32) / PIXEL_SCALE, y) for x, y in ((data.train_x, data.train_y), (data.test_x, data.test_y))
    )
    rows = []
    for dtype in DTYPES:
        rows.append(measure(train, test, dtype=dtype, seed=args.seed, epochs=QUICK_EPOCHS if args.quick else None))
        print(rows[-1], flush=True)
    record = {"seed": args.seed, "quick": args.quick, "rows": rows}
    print(as_markdown(record))
    if args.json is not None:
        args.json.write_text(json.dumps({"environment": environment(), **record}, indent=1) + "\n")
