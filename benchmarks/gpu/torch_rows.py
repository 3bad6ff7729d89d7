"""The same workloads in torch, eager and compiled."""

from __future__ import annotations

from benchmarks.gpu.clock import Clock
from benchmarks.gpu.record import Record
from benchmarks.gpu.subjects import Subject, subjects
from benchmarks.speed.contestant import Contestant, Setting, Unsupported
from benchmarks.speed.contestants import deepuq_torch, floor_torch
from benchmarks.speed.workloads import Predict, Train

_CALLS = 20


def run(record: Record, clock: Clock, dry: bool) -> None:
    """Add the rows, the eager ones first because they need no compiling."""
    setting = Setting("cpu" if dry else "gpu", "float32")
    found = [*deepuq_torch.contestants(), *floor_torch.contestants()]
    for style in ("eager",) if dry else ("eager", "compiled"):
        for subject in subjects(dry):
            for contestant in found:
                if contestant.style == style:
                    _measure(record, clock, subject, contestant, setting)


def _measure(record: Record, clock: Clock, subject: Subject, contestant: Contestant, setting: Setting) -> None:
    train = Train(subject.network, batch=subject.batch, steps=_CALLS)
    predict = Predict(subject.network, draws=4 if setting.backend == "cpu" else 50)
    try:
        if contestant.train is not None:
            steps = contestant.train(train, setting)
            times = clock.timed(lambda: steps(_CALLS), units=_CALLS)
            record.add(f"train {subject.name}, {contestant.name}", **times)
        if contestant.predict is not None:
            call = contestant.predict(predict, setting)
            record.add(f"{predict.name}, {contestant.name}", **clock.timed(call))
    except Unsupported as reason:
        record.add(f"{subject.name}, {contestant.name}", skipped=str(reason))
