"""For the whole test run: workers keep to cores of their own and share what XLA compiled, as do programs they start."""

import os
import shutil
import tempfile
from importlib.metadata import version

import pytest

_CACHE = "JAX_COMPILATION_CACHE_DIR"
# Compiling is most of a test's time, and most programs run once: LLVM's optimizer is left out, which changes no result
# that a test looks at, and XLA's own passes are not. With all of it: XLA_FLAGS=--xla_backend_optimization_level=3.
_EFFORT = "--xla_backend_optimization_level"
# XLA's older way to write the code of a fusion takes half the time to compile. A jaxlib that does not know a flag ends
# the process, so it is set for those alone that are known to. XLA_FLAGS as above leaves this out, too.
_OLDER_FUSIONS, _KNOWN_TO = "--xla_cpu_use_fusion_emitters=false", "0.10."
_own_cache: str | None = None


@pytest.hookimpl(tryfirst=True)
def pytest_configure():
    """Before jax is imported, and before the workers start: they inherit the environment."""
    global _own_cache
    flags = os.environ.get("XLA_FLAGS", "")
    if _EFFORT not in flags:
        fusions = _OLDER_FUSIONS if version("jaxlib").startswith(_KNOWN_TO) else ""
        os.environ["XLA_FLAGS"] = f"{flags} {_EFFORT}=0 {fusions}".strip()
    if _CACHE not in os.environ:
        _own_cache = os.environ[_CACHE] = tempfile.mkdtemp(prefix="deepuq-compiled-")
        # Also what compiles fast: tests run thousands of small programs, and each of two workers needs most of them.
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


def _keep_to_own_cores():
    """A worker takes its share of the cores: threads of two workers that want the same one wait for each other."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is not None and hasattr(os, "sched_setaffinity"):
        count = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        own = sorted(os.sched_getaffinity(0))[int(worker.removeprefix("gw")) :: count]
        if own:
            os.sched_setaffinity(0, own)


def pytest_unconfigure():
    """Nothing is left behind, and no run sees what an earlier one compiled."""
    if _own_cache is not None:
        shutil.rmtree(_own_cache, ignore_errors=True)


# When this file is read, not when pytest is configured: by then the files of this name below have imported torch, which
# counts the cores once, and its threads would wait for each other on the worker's one.
_keep_to_own_cores()
