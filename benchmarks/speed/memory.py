"""Peak memory of a contestant, in a process that runs ``python -m benchmarks.speed.memory``."""

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
_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes per unit of ru_maxrss
_STATUS = Path("/proc/self/status")


def resident() -> int:
    """The peak memory of this process, bytes."""
    if _STATUS.exists():  # on Linux a new process inherits ru_maxrss from its parent
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        return 1024 * int(lines["VmHWM"].removesuffix("kB"))
    return _UNIT * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def on_device() -> int | None:
    """The larger of the frameworks' peaks on the GPU, in bytes; None on a CPU."""
    torch = sys.modules.get("torch")
    found = [(device.memory_stats() or {}).get("peak_bytes_in_use", 0) for device in jax.devices()]
    if torch is not None and torch.cuda.is_available():
        found.append(torch.cuda.max_memory_allocated())
    return max(found) or None


def peak(workload: str, contestant: str, setting: Setting) -> dict:
    """Measure the peak memory in a new process.

    Returns:
        {"peak": bytes, "imports": bytes before the workload, "device": bytes or None}, or {} if the process fails.
    """
    arguments = [workload, contestant, setting.backend, setting.precision]
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.speed.memory", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return {}
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}


def main(workload: str, contestant: str, backend: str, precision: str) -> dict:
    """Call the contestant twice, and return the peaks.

    The first call may compile.
    """
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
