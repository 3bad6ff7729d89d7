"""Limits of the card: memory bandwidth, matrix products, launches, random numbers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gpu.clock import Clock
from benchmarks.gpu.record import Record
from benchmarks.gpu.subjects import relative_error
from deepuq_jax.noise.threefry import threefry_normal


def run(record: Record, clock: Clock, dry: bool) -> None:
    """Add a row per limit."""
    _copy(record, clock, 1 << (12 if dry else 28))
    _products(record, clock, 64 if dry else 8192)
    _launches(record, clock)
    _numbers(record, clock, 1 << (10 if dry else 26))


def _copy(record: Record, clock: Clock, size: int) -> None:
    values = jnp.arange(size, dtype=jnp.float32)
    add = jax.jit(lambda a: a + 1.0)
    times = clock.timed(lambda: add(values))
    record.add("copy, four bytes in and out", GB_per_s=8 * size / times["us"] / 1e3, **times)


def _products(record: Record, clock: Clock, size: int) -> None:
    x = jax.random.normal(jax.random.key(0), (size, size))
    exact = np.asarray(x[:64], np.float64) @ np.asarray(x, np.float64)
    for precision in ("highest", "default"):
        product = jax.jit(lambda a, precision=precision: jax.lax.dot(a, a, precision=precision))
        times = clock.timed(lambda product=product: product(x))
        error = relative_error(product(x)[:64], exact)
        teraflops = 2 * size**3 / times["us"] / 1e6
        record.add(f"matrix product, float32, precision {precision}", TFLOPs=teraflops, rel_error=error, **times)


def _launches(record: Record, clock: Clock) -> None:
    zero = jnp.zeros(())
    add = jax.jit(lambda a: a + 1.0)
    record.add("call of one addition", queued_us=clock.queued(lambda: add(zero)), **clock.timed(lambda: add(zero)))
    loop = jax.jit(lambda a: jax.lax.scan(lambda carry, _: (carry * 1.0001 + 1.0, None), a, None, length=1000)[0])
    record.add("iteration of a scan", **clock.timed(lambda: loop(zero), units=1000))


def _numbers(record: Record, clock: Clock, size: int) -> None:
    words = jax.random.key_data(jax.random.key(1))
    generators = {
        "threefry_normal, summed": lambda w: threefry_normal(w, shape=(size,), tag=0).sum(),
        "threefry_normal, written": lambda w: threefry_normal(w, shape=(size,), tag=0),
        "jax.random.normal, written": lambda w: jax.random.normal(jax.random.wrap_key_data(w), (size,)),
    }
    for name, generate in generators.items():
        program = jax.jit(generate)
        times = clock.timed(lambda program=program: program(words))
        record.add(name, picoseconds_per_number=times["us"] * 1e6 / size, **times)
