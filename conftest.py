"""For the whole test run: workers keep to cores of their own and share what XLA compiled, as do programs they start."""

import hashlib
import os
import platform
from importlib.metadata import version
from pathlib import Path

import pytest

_CACHE = "JAX_COMPILATION_CACHE_DIR"
# Compiling is most of a test's time, and most programs run once. So LLVM's optimizer is left out, which changes no result
# that a test looks at; XLA's own passes stay. To run everything with all optimizations, as a user has it:
# XLA_FLAGS=--xla_backend_optimization_level=3 make test.
_EFFORT = "--xla_backend_optimization_level"
# XLA's older way to write the code of a fusion takes half the time to compile. A jaxlib that does not know a flag ends
# the process, so it is set for those alone that are known to have it, and not with XLA_FLAGS as above.
_OLDER_FUSIONS, _KNOWN_TO = "--xla_cpu_use_fusion_emitters=false", "0.10."


@pytest.hookimpl(tryfirst=True)
def pytest_configure():
    """Set the environment before JAX is imported and before the workers start, which inherit it."""
    flags = os.environ.get("XLA_FLAGS", "")
    if _EFFORT not in flags:
        fusions = _OLDER_FUSIONS if version("jaxlib").startswith(_KNOWN_TO) else ""
        os.environ["XLA_FLAGS"] = f"{flags} {_EFFORT}=0 {fusions}".strip()
    if _CACHE not in os.environ:
        os.environ[_CACHE] = str(_cache_folder())
        # Also what compiles fast: tests run thousands of small programs, and each of two workers needs most of them.
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


def _cache_folder() -> Path:
    """What earlier runs compiled, in the checkout: a folder per versions, flags and kind of processor."""
    cpuinfo, features = Path("/proc/cpuinfo"), []
    if cpuinfo.exists():
        features = [line for line in cpuinfo.read_text().splitlines() if line.startswith(("flags", "Features"))][:1]
    key = [version("jax"), version("jaxlib"), os.environ["XLA_FLAGS"], platform.machine(), *features]
    return Path(__file__).parent / ".jax-cache" / hashlib.sha256(" ".join(key).encode()).hexdigest()[:12]


def _keep_to_own_cores():
    """Give a worker its share of the cores: threads of two workers that want the same core wait for each other."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is not None and hasattr(os, "sched_setaffinity"):
        count = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        own = sorted(os.sched_getaffinity(0))[int(worker.removeprefix("gw")) :: count]
        if own:
            os.sched_setaffinity(0, own)


# When this file is read, not when pytest is configured: by then the files of this name below have imported torch, which
# counts the cores once, and its threads would wait for each other on the worker's one.
_keep_to_own_cores()
