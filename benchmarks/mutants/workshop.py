"""A copy of the checkout in which mutants are tried."""

from __future__ import annotations

import importlib.util
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# A mutant may ask for far more memory than the tests need, and must not bring down the machine.
_MEMORY = 8 * 2**30
_NO_TESTS = 5
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """How a run of tests ended.

    Attributes:
        verdict: `survived` if all tests passed, `killed` if a test failed or pytest could not run, `timeout` if the
            tests did not end in time, `untested` if there were no tests.
        by: the test that failed; empty if no test failed or pytest could not run.
        seconds: the duration of the run.
    """

    verdict: str
    by: str
    seconds: float


class Workshop:
    """A copy of the checkout, a cache of compiled programs, and a way to run tests on a mutated file.

    Args:
        checkout: the root that is copied; it is never written to.
        folder: the folder for the copy and the cache. A copy from an earlier run is replaced; its cache is used again.
    """

    def __init__(self, checkout: Path, folder: Path) -> None:
        self.root = folder / "copy"
        self._cache = folder / "jax-cache"
        self._cache.mkdir(parents=True, exist_ok=True)
        if self.root.exists():
            shutil.rmtree(self.root)
        for name in _files(checkout):
            target = self.root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(checkout / name, target)

    @contextmanager
    def mutated(self, file: str, source: str) -> Iterator[None]:
        """Replace a file of the copy, and put the original back at the end."""
        path = self.root / file
        original = path.read_bytes()
        # Python reuses bytecode if the time (in seconds) and size of the source match, as they do for many mutants.
        bytecode = Path(importlib.util.cache_from_source(str(path)))
        bytecode.unlink(missing_ok=True)
        path.write_text(source, encoding="utf-8")
        try:
            yield
        finally:
            path.write_bytes(original)
            bytecode.unlink(missing_ok=True)

    def test(self, paths: Sequence[str], marks: str, limit_s: float) -> Outcome:
        """Run tests in a process of their own, up to the first that fails.

        Unless all tests passed, the programs that the run compiled are deleted from the cache: a run that is stopped
        may leave an incomplete file, and few mutants share their programs with another mutant.

        Args:
            paths: paths of test files and of files with doctests, from the root of the copy.
            marks: the expression for pytest's `-m`.
            limit_s: seconds after which the run is stopped.
        """
        command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "-m", marks, *paths]
        cached, started = set(self._cache.iterdir()), time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=self.root,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            resource.prlimit(process.pid, resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
            output, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            output = ""
        finally:
            timed_out = process.poll() is None
            _stop(process)
            if process.returncode != 0:
                for entry in set(self._cache.iterdir()) - cached:
                    entry.unlink()
        seconds = time.monotonic() - started
        if timed_out:
            return Outcome("timeout", "", seconds)
        if process.returncode == _NO_TESTS:
            return Outcome("untested", "", seconds)
        if process.returncode == 0:
            return Outcome("survived", "", seconds)
        failed = _FAILED.search(output)
        return Outcome("killed", failed[1] if failed else "", seconds)

    def _environment(self) -> dict[str, str]:
        return os.environ | {
            "PYTHONPATH": str(self.root),
            "JAX_COMPILATION_CACHE_DIR": str(self._cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }


def _stop(process: subprocess.Popen[str]) -> None:
    """Kill a process that is still running, and its process group."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _files(checkout: Path) -> list[str]:
    """Return the files that git tracks or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=checkout,
        check=True,
        capture_output=True,
        text=True,
    )
    return [name for name in listed.stdout.split("\0") if name and (checkout / name).is_file()]
