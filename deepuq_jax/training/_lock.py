"""A folder that one process uses at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from pathlib import Path
from typing import TextIO

from deepuq_jax._checks import expected

try:
    import fcntl
except ImportError:  # Windows has no such locks, so the user has to avoid two runs in one folder.
    fcntl = None

_FILE = "lock"


@contextlib.contextmanager
def locked(folder: Path) -> Generator[None, None, None]:
    """Create a folder and hold its lock.

    The operating system releases the lock when the process ends, however it ends, so no lock is ever left behind.

    Raises:
        OSError: the folder cannot be written to, or another run holds its lock.
    """
    with _open_lock(folder) as file:
        _hold(file, folder)
        try:
            yield
        finally:
            if fcntl is not None:  # Explicitly, since processes forked by a data loader may keep the file open.
                fcntl.flock(file, fcntl.LOCK_UN)


def _open_lock(folder: Path) -> TextIO:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            raise PermissionError(f"{folder} is read-only")
        return (folder / _FILE).open("a+", encoding="utf-8")
    except OSError as error:
        raise OSError(expected("checkpoint", "to be a folder that can be written to", f"{error}")) from error


def _hold(file: TextIO, folder: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        what = f"to be a folder of one run at a time, but process {file.read() or 'unknown'} is training in it"
        raise OSError(expected("checkpoint", what, f"{folder}")) from error
    with contextlib.suppress(OSError):  # The number of the process is for the message alone; the disk may be full.
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), str(os.getpid()).encode())
