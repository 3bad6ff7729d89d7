"""The machine, the versions and the arithmetic of a measurement."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path

import jax
import torch

import deepuq_jax
from benchmarks.speed.contestant import Setting

PRECISIONS = ("float32", "tf32", "bfloat16")
PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "numpy",
    "torch",
    "uqdeepnn",
    "bayesian-torch",
    "torchbnn",
    "blitz-bayesian-pytorch",
    "posteriors",
    "numpyro",
    "blackjax",
    "ivon-opt",
)


def apply(setting: Setting) -> None:
    """Set backend and precision of matrix products in both frameworks."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # so that both fit on one GPU
    if setting.backend == "cpu":
        jax.config.update("jax_platforms", "cpu")
    is_exact = setting.precision != "tf32"
    jax.config.update("jax_default_matmul_precision", "float32" if is_exact else "tensorfloat32")
    torch.set_float32_matmul_precision("highest" if is_exact else "high")
    torch.backends.cudnn.allow_tf32 = not is_exact


def compile_anew() -> None:
    """Give torch's compiler an empty cache, so that a first call compiles, as it does in JAX."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp(prefix="inductor-")


def describe(setting: Setting) -> dict:
    """Describe machine, versions and commit, for a result file."""
    return {
        "backend": setting.backend,
        "precision": setting.precision,
        "device": str(jax.devices()[0].device_kind) if setting.backend == "gpu" else _processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "python": platform.python_version(),
        "deepuq_jax": deepuq_jax.__version__,
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "commit": _commit(),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    """Return the short hash of the commit, with "+" if the tree has changes.

    Results and READMEs do not count as changes. Outside of a repository the hash is empty.
    """

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=Path(__file__).parent)
        return done.stdout.strip() if done.returncode == 0 else ""

    written = (":!/benchmarks/results", ":!/README.md", ":!/benchmarks/README.md")
    changes = git("status", "--porcelain", "--", ":/", *written)
    return git("rev-parse", "--short", "HEAD") + ("+" if changes else "")
