"""Memory of compiled programs, and times of those that run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from benchmarks.scaling.cases import Case, Training
from benchmarks.timing import Timing, interleave

# The seconds that a timed call should take; the number of its steps follows from this.
CALL_S = 0.1
# A slope is fitted to this many of the largest values.
LARGEST = 3


@dataclass(frozen=True)
class Plan:
    """The values of each axis.

    Attributes:
        parameters, batch, devices: values for training and prediction.
        training_draws, prediction_draws: draws of a step, and of a prediction.
        timed: the largest number of parameters with which a program runs; larger programs are only compiled.
        rounds: number of timed calls.
    """

    parameters: tuple[float, ...] = (1e3, 1e4, 1e5, 1e6, 1e7, 1e8)
    training_draws: tuple[int, ...] = (1, 2, 4, 8, 16)
    prediction_draws: tuple[int, ...] = (1, 10, 100, 1000)
    batch: tuple[int, ...] = (1, 8, 64, 512, 4096)
    devices: tuple[int, ...] = (1, 2, 4, 8)
    timed: float = 1e7
    rounds: int = 7

    def values(self, axis: str, kind: str) -> Sequence[Any]:
        """Return the values of an axis for "training" or "prediction"."""
        if axis == "draws":
            return self.training_draws if kind == "training" else self.prediction_draws
        return getattr(self, axis)


QUICK = Plan(
    parameters=(1e3, 1e4, 1e5),
    training_draws=(1, 2),
    prediction_draws=(1, 10),
    batch=(1, 8, 64),
    devices=(1, 2),
    timed=1e5,
    rounds=2,
)


def memory(case: Case) -> dict[str, Any]:
    """Compile a program from the shapes of its arrays, and return its memory and operations per device.

    Returns:
        count: number of weights and biases.
        peak: bytes of arguments, results and temporary arrays; donated arguments count once.
        arrays: the peak divided by the bytes of all trained parameters, which are a mean and a rho per weight.
        operations: floating-point operations, as XLA counts them; the body of a loop counts once.
    """
    start, *rest = case.abstract()
    compiled = case.program.lower(start, *rest).compile()
    found: Any = compiled.memory_analysis()
    peak = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    peak += found.temp_size_in_bytes
    params = start.params if isinstance(case, Training) else start
    trained = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params))
    return {
        "count": sum(leaf.size for leaf in jax.tree.leaves(params)) // 2,
        "peak": int(peak),
        "arrays": peak / trained,
        "operations": float((compiled.cost_analysis() or {}).get("flops", math.nan)),
    }


def runner(case: Case) -> tuple[Callable[[], Any], int]:
    """Return a warm function without arguments, and the number of steps or predictions per call."""
    program, (x, y), key = case.program, case.data(), jax.random.key(0)
    held = [case.start()]

    def once() -> Any:
        found = program(held[0], x, y, key)
        if isinstance(case, Training):  # The step donated the state that it was given.
            held[0] = found
        return found

    jax.block_until_ready(once())
    began = time.perf_counter()
    jax.block_until_ready(once())
    count = max(1, round(CALL_S / (time.perf_counter() - began)))

    def many() -> Any:
        for _ in range(count - 1):
            once()
        return once()

    return many, count


def times(cases: dict[str, Case], rounds: int) -> dict[str, Timing]:
    """Time the cases in turn, so that a slow spell of the machine affects all of them."""
    made = {name: runner(case) for name, case in cases.items()}
    units = {name: count for name, (_, count) in made.items()}
    return interleave({name: call for name, (call, _) in made.items()}, units=units, rounds=rounds)


def along(case: Case, axis: str, values: Sequence[Any], plan: Plan) -> list[dict[str, Any]]:
    """Measure a case at each value of an axis; along the axis of devices, only memory and operations."""
    cases = {str(value): case.at(axis, value) for value in values}
    small = {name: one for name, one in cases.items() if one.parameters <= plan.timed}
    timed = times(small, plan.rounds) if axis != "devices" else {}
    rows = []
    for value, (name, one) in zip(values, cases.items(), strict=True):
        row = {"value": value, **memory(one)}
        if name in timed:
            row |= {"seconds": timed[name].median_s, "low": timed[name].low_s, "high": timed[name].high_s}
        rows.append(row)
    return rows


def slope(rows: list[dict[str, Any]], axis: str, measure: str) -> float:
    """Fit the exponent s of measure ~ value^s to the largest values, by least squares of the logarithms.

    Args:
        rows: rows such as those of `along`.
        axis: the axis; on the axis of parameters, the values are the actual numbers, not the intended ones.
        measure: "seconds", "peak" or "operations".

    >>> slope([{"value": v, "peak": 3 * v**2} for v in (1, 2, 4)], "draws", "peak")
    2.0
    """
    points = [(row["count"] if axis == "parameters" else row["value"], row[measure]) for row in rows if measure in row]
    x, y = np.log(np.array(points[-LARGEST:], np.float64)).T
    return round(float(np.polyfit(x, y, 1)[0]), 10)
