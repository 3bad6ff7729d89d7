"""The float32 cases of `parity_tests` on the GPU, without the exact reference."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.gpu.clock import Clock
from benchmarks.gpu.record import Record
from parity_tests import cases, harness


def run(record: Record, clock: Clock, dry: bool) -> None:
    """Add a row per case, and one for the largest error."""
    chosen = [case for case in cases.ALL if "float32" in case.dtypes]
    worst = 0.0
    for case in chosen[:2] if dry else chosen:
        # 60-digit arithmetic takes most of the time, and the GPU has no part in it.
        found = harness.run(replace(case, reference=None), "float32")
        errors = harness.errors(case, "float32", found["jax"], found["torch"])
        share = max(error.share for error in errors.values())
        worst = max(worst, share)
        record.add(case.name, share_of_tolerance=float(share), ulp=float(max(e.ulp for e in errors.values())))
    record.add("largest share of a tolerance", share_of_tolerance=float(worst))
