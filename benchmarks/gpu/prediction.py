"""Predictions with different numbers of draws at once, called without jit and in bfloat16, and log densities."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import deepuq_jax as dq
from benchmarks.gpu.clock import Clock, compile_together
from benchmarks.gpu.record import Record
from benchmarks.gpu.subjects import Subject, subjects

DRAWS = 50
AT_ONCE = (1, 2, 10, 50)
# With more activations than this in a layer, a chunk of draws fills too much memory.
_LARGEST = 10**8


def run(record: Record, clock: Clock, dry: bool) -> None:
    """Add the rows of every network."""
    for i, subject in enumerate(subjects(dry)):
        inputs = (1, 4) if dry else ((1, 128, 1000) if i == 0 else (1, 1000))
        _measure(record, clock, subject, inputs, draws=4 if dry else DRAWS)
    _measure_variants(record, clock, subjects(dry)[0], rows=4 if dry else 1000, draws=4 if dry else DRAWS)


def _measure(record: Record, clock: Clock, subject: Subject, inputs: tuple[int, ...], draws: int) -> None:
    model, key = subject.model(), jax.random.key(2)
    widest = max(kernel[-1] for kernel in subject.network.kernels)
    x = {rows: subject.data(rows)[0] for rows in inputs}
    lowered = {
        f"{rows} {at_once}": _program(draws, at_once).lower(model, x[rows], key)
        for rows in inputs
        for at_once in AT_ONCE
        if at_once <= draws and rows * widest * at_once <= _LARGEST
    }
    programs = compile_together(lowered)
    for rows in inputs:
        times = {}
        for at_once in AT_ONCE:
            program = programs.get(f"{rows} {at_once}")
            if program is not None:
                call = _bound(program, model, x[rows], key)
                times[at_once] = clock.timed(call, seconds=0.15)["us"]
        best = min(times, key=lambda at_once: times[at_once])
        name = f"predict {subject.name}, {draws} draws, {rows} inputs"
        record.add(name, best_at_once=best, **{f"at_{count}_us": value for count, value in times.items()})
        eager = clock.timed(lambda rows=rows: dq.predict_vi_uq(model, x[rows], key=key, n_samples=draws).mean)
        record.add(f"{name}, called without jit", **eager)


def _measure_variants(record: Record, clock: Clock, subject: Subject, rows: int, draws: int) -> None:
    """Add rows in bfloat16, and of log densities, both with the library's choice of draws at once."""
    model, (x, y), key = subject.model(), subject.data(rows), jax.random.key(2)

    def density(model: Any, x: Any, key: Any) -> Any:
        return dq.log_predictive_density(model, x, y, key=key, n_samples=draws)

    variants = {"bfloat16": _program(draws, None, jnp.bfloat16), "log density": jax.jit(density)}
    programs = compile_together({name: program.lower(model, x, key) for name, program in variants.items()})
    for name, program in programs.items():
        times = clock.timed(_bound(program, model, x, key), seconds=0.15)
        record.add(f"predict {subject.name}, {draws} draws, {rows} inputs, {name}", **times)


def _program(draws: int, at_once: int | None, compute_dtype: Any = None) -> Any:
    def moments(model: Any, x: Any, key: Any) -> Any:
        result = dq.predict_vi_uq(
            model, x, key=key, n_samples=draws, draws_at_once=at_once, compute_dtype=compute_dtype
        )
        return result.mean, result.epistemic_var

    return jax.jit(moments)


def _bound(program: Any, *arguments: Any) -> Any:
    return lambda: program(*arguments)
