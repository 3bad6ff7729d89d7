"""`fit` as users call it: the cost of the host between epochs."""

from __future__ import annotations

import time

import jax

import deepuq_jax as dq
from benchmarks.gpu.clock import Clock
from benchmarks.gpu.record import Record
from benchmarks.gpu.subjects import Subject, subjects
from benchmarks.speed.contestants import jax_parts


def run(record: Record, clock: Clock, dry: bool) -> None:
    """Add the rows of the two smaller networks, with and without validation data."""
    for subject in subjects(dry)[-2:]:
        _measure(record, subject, batches=2 if dry else 100, epochs=2 if dry else 20)


def _measure(record: Record, subject: Subject, batches: int, epochs: int) -> None:
    x, y = subject.data(subject.batch * batches)
    held_out = x[: subject.batch], y[: subject.batch]

    def fit(epochs: int, validation_data: tuple[jax.Array, jax.Array] | None) -> float:
        start = time.perf_counter()
        result = dq.fit(
            subject.model(),
            x,
            y,
            key=jax.random.key(0),
            objective=dq.ELBO(),
            optimizer=jax_parts.OPTIMIZER,
            epochs=epochs,
            batch_size=subject.batch,
            validation_data=validation_data,
        )
        jax.block_until_ready(result.state)
        return (time.perf_counter() - start) * 1e6 / (epochs * batches)

    times = {}
    for name, data in (("us_per_step", None), ("with_validation_us", held_out)):
        fit(epochs, data)  # compiles
        times[name] = fit(epochs, data)
    record.add(f"fit {subject.name}, {epochs} epochs of {batches} steps", **times)
