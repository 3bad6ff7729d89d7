"""Ctrl-C that waits for the end of a block."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Generator


@contextlib.contextmanager
def deferred_interrupt() -> Generator[None, None, None]:
    """Hold back Ctrl-C until the block has ended.

    A compiled step donates its buffers. If it were interrupted before its result is assigned, the old state would be
    gone and the new state not yet in reach.
    """
    handler = signal.getsignal(signal.SIGINT)
    # Only the main thread may set a handler. If the handler is not a Python function, Ctrl-C raises nothing here.
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    received: list[tuple[int, object]] = []
    signal.signal(signal.SIGINT, lambda number, frame: received.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if received:
        handler(*received[-1])  # type: ignore[arg-type]
