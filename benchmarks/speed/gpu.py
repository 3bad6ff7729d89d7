"""The table on a GPU, in several modes.

Each arithmetic has a mode, and float32 also a mode without command buffers. Flags of XLA and the precision of matrix
products belong to a process, so each mode starts the command anew.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.speed.environment import PRECISIONS

NO_COMMAND_BUFFERS = "--xla_gpu_enable_command_buffer="


@dataclass(frozen=True)
class Mode:
    """A run of the table: name, options, additional XLA_FLAGS."""

    name: str
    options: tuple[str, ...]
    xla_flags: str = ""


MODES = (
    *(Mode(precision, ("--precision", precision)) for precision in PRECISIONS),
    Mode(
        "float32-no-command-buffers",
        ("--precision", "float32", "--contestants", "JAX,deepuq_jax,numpyro,blackjax"),
        NO_COMMAND_BUFFERS,
    ),
)


def run_modes(arguments: list[str], run: Callable[..., object] = subprocess.run) -> None:
    """Run the command in each mode, with these arguments added.

    Each mode writes `results/speed-gpu-<mode>.json`.
    """
    for mode in MODES:
        flags = " ".join(filter(None, (os.environ.get("XLA_FLAGS", ""), mode.xla_flags)))
        command = [sys.executable, "-m", "benchmarks", "speed", "--backend", "gpu", *mode.options, *arguments]
        command += ["--json", f"benchmarks/results/speed-gpu-{mode.name}.json"]
        run(command, env={**os.environ, "XLA_FLAGS": flags}, check=True)
