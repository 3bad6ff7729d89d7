"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable
from typing import Any


def write_file(path: str | os.PathLike[str], chunks: Iterable[Any]) -> None:
    """Write a file, whole or not at all.

    The bytes go to a temporary file beside the target, which is flushed to the disk and renamed. If anything fails, the
    target is as it was, and the temporary file is removed.

    Args:
        path: the path of the file; a link to a file is followed.
        chunks: bytes, or contiguous arrays of bytes.
    Raises:
        OSError: the directory is missing or read-only, the disk is full, or the path is a directory.
    """
    target = os.path.realpath(os.fspath(path))
    if os.path.isdir(target):
        raise IsADirectoryError(f"Expected {os.fspath(path)} to be the name of a file; got a directory.")
    directory, name = os.path.split(target)
    temporary = os.path.join(directory, f".{name[:100]}.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _flush_directory(directory)


def _flush_directory(directory: str) -> None:
    """Flush the rename to the disk."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
