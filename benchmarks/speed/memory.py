"""Peak memory of one contestant at one workload, in a process of its own: `python -m benchmarks.speed.memory`."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import jax

from benchmarks.speed import contestants
from benchmarks.speed.contestant import Setting
from benchmarks.speed.environment import apply
from benchmarks.speed.workloads import ON_GPU, WORKLOADS, Predict

LIMIT_S = 600
_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
_STATUS = Path("/proc/self/status")


def resident() -> int:
    """The most memory that this process has had, bytes."""
    if _STATUS.exists():  # on Linux ru_maxrss of a new process begins at that of the process that started it
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        return 1024 * int(lines["VmHWM"].removesuffix("kB"))
    return _UNIT * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def on_device() -> int | None:
    """The most that either framework has had on the GPU, bytes; None on a CPU."""
    torch = sys.modules.get("torch")
    found = [(device.memory_stats() or {}).get("peak_bytes_in_use", 0) for device in jax.devices()]
    if torch is not None and torch.cuda.is_available():
        found.append(torch.cuda.max_memory_allocated())
    return max(found) or None


def peak(workload: str, contestant: str, setting: Setting) -> dict:
    """{"peak": bytes, "imports": what was there before the workload, "device": bytes or None}, by a process of its own.

    Empty where that process fails.
    """
    arguments = [workload, contestant, setting.backend, setting.precision]
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.speed.memory", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return {}
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}


def main(workload: str, contestant: str, backend: str, precision: str) -> dict:
    """Two calls of the contestant (the first may compile), and what they took."""
    setting = Setting(backend, precision)
    apply(setting)
    work = next(w for w in (*WORKLOADS, *ON_GPU) if w.name == workload)
    predicts = isinstance(work, Predict)
    chosen = next(
        c for c in contestants.present()[0] if c.name == contestant and (c.predict if predicts else c.train) is not None
    )
    before = resident()
    if isinstance(work, Predict):
        assert chosen.predict is not None
        predict = chosen.predict(work, setting)
        for _ in range(2):
            jax.block_until_ready(predict())
    else:
        assert chosen.train is not None
        train = chosen.train(work, setting)
        for _ in range(2):
            train(work.steps if chosen.style == "scanned" else 2)
    return {"peak": resident(), "imports": before, "device": on_device()}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
