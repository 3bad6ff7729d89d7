"""For the whole test run: its workers, and the programs that tests start, share what XLA has compiled."""

import os
import shutil
import tempfile

import pytest

_CACHE = "JAX_COMPILATION_CACHE_DIR"
_own_cache: str | None = None


@pytest.hookimpl(tryfirst=True)
def pytest_configure():
    """Before jax is imported, and before the workers start: they inherit the environment."""
    global _own_cache
    if _CACHE not in os.environ:
        _own_cache = os.environ[_CACHE] = tempfile.mkdtemp(prefix="deepuq-compiled-")
        # Also what compiles fast: tests run thousands of small programs, and each of two workers needs most of them.
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


def pytest_unconfigure():
    """Nothing is left behind, and no run sees what an earlier one compiled."""
    if _own_cache is not None:
        shutil.rmtree(_own_cache, ignore_errors=True)
