"""Setup of every test run.

Each worker keeps to cores of its own. The workers, and the programs that tests start, share a compilation cache.
"""

import functools
import gc
import hashlib
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

_CACHE = "JAX_COMPILATION_CACHE_DIR"
# The tests spend most of their time compiling programs that run once. Level 0 leaves out LLVM's optimizer, on which no
# test depends, and keeps XLA's own passes. To run the tests with the optimizations that users have, call
# XLA_FLAGS=--xla_backend_optimization_level=3 make test.
_EFFORT = "--xla_backend_optimization_level"
# XLA's older code generator for fusions takes half the time to compile. A jaxlib that does not know a flag ends the
# process, so the flag is set only for versions that have it, and only if XLA_FLAGS does not choose the level.
_OLDER_FUSIONS, _KNOWN_TO = "--xla_cpu_use_fusion_emitters=false", "0.10."


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """Set the environment before JAX is imported and before the workers start, which inherit it."""
    # Hypothesis 6.124 looks for what holds its generator, and does not find what `gc.freeze` below exempted.
    config.addinivalue_line("filterwarnings", "ignore:It looks like `register_random` was passed an object")
    flags = os.environ.get("XLA_FLAGS", "")
    if _EFFORT not in flags:
        fusions = _OLDER_FUSIONS if version("jaxlib").startswith(_KNOWN_TO) else ""
        os.environ["XLA_FLAGS"] = f"{flags} {_EFFORT}=0 {fusions}".strip()
    # On a GPU, products are in TF32 by default, and the tests' references have more digits than that.
    os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
    if _CACHE not in os.environ:
        os.environ[_CACHE] = str(_cache_folder())
        # Keep small programs, too, but not the smallest ones, which compile as fast as they are written and read.
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"
        os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


def _cache_folder() -> Path:
    """Return the cache folder in the checkout for these versions and flags and this kind of processor."""
    cpuinfo, features = Path("/proc/cpuinfo"), []
    if cpuinfo.exists():
        features = [line for line in cpuinfo.read_text().splitlines() if line.startswith(("flags", "Features"))][:1]
    key = [version("jax"), version("jaxlib"), os.environ["XLA_FLAGS"], platform.machine(), *features]
    return Path(__file__).parent / ".jax-cache" / hashlib.sha256(" ".join(key).encode()).hexdigest()[:12]


def _keep_to_own_cores():
    """Give each worker a share of the cores, so that threads of two workers do not wait for each other."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is not None and hasattr(os, "sched_setaffinity"):
        count = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        own = sorted(os.sched_getaffinity(0))[int(worker.removeprefix("gw")) :: count]
        if own:
            os.sched_setaffinity(0, own)


# Called on import, because torch counts the cores once, when it is imported by a conftest.py further down. If the cores
# were set later, torch's threads would wait for each other on the worker's only core.
_keep_to_own_cores()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark an example in a docstring as slow if it calls `fit`, which trains."""
    for item in items:
        if isinstance(item, pytest.DoctestItem) and any("fit(" in example.source for example in item.dtest.examples):
            item.add_marker(pytest.mark.slow)


def pytest_sessionfinish():
    """Spare the end of the run from visiting all objects of JAX again.

    pytest collects garbage five times there, to see errors of finalizers. One collection frees what is garbage.
    """
    gc.collect()
    gc.freeze()


def pytest_collection_finish():
    """Exempt what was imported and collected from garbage collection, and collect garbage less often.

    JAX's caches keep many objects alive, and each garbage collection visits them again.
    """
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    _lower_in_one_context()


def _lower_in_one_context():
    """Let JAX lower all programs of this process in one MLIR context.

    JAX makes a context for each program and loads every dialect into it, which takes a tenth of the tests' time. The
    programs are the same in a shared context.
    """
    mlir = sys.modules.get("jax._src.interpreters.mlir")
    if mlir is not None and version("jax").startswith(_KNOWN_TO):
        mlir.make_ir_context = functools.cache(mlir.make_ir_context)


# Linux allows a process 65,530 memory maps. A worker compiles thousands of programs, each of which holds several maps,
# and XLA crashes when none are left.
_MAPS = Path("/proc/self/maps")
_MAX_MAPS, _TESTS_BETWEEN_COUNTS = 25_000, 20
_finished_tests = 0


def pytest_runtest_logfinish():
    """Forget compiled programs before they use up the memory maps; the cache on disk keeps them."""
    global _finished_tests
    _finished_tests += 1
    if _finished_tests % _TESTS_BETWEEN_COUNTS or "jax" not in sys.modules or not _MAPS.exists():
        return
    with _MAPS.open("rb") as lines:
        count = sum(1 for _ in lines)
    if count > _MAX_MAPS:
        sys.modules["jax"].clear_caches()
        gc.collect()


@pytest.fixture
def compilations():
    """Collect the durations of JAX's compilations, so that their number counts the programs."""
    import jax

    found = []

    def note(name, duration, **_):
        if name == "/jax/core/compile/backend_compile_duration":
            found.append(duration)

    jax.monitoring.register_event_duration_secs_listener(note)
    yield found
    jax.monitoring.unregister_event_duration_listener(note)
