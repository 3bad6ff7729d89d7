"""Progress of a long run, on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

Step = TypeVar("Step")


def tracked(group: str, steps: Sequence[Step]) -> Iterator[Step]:
    """Yield the steps of a group, and show progress.

    A terminal shows a bar if tqdm is installed. Otherwise, a line names the group at its start, and its time at the
    end.
    """
    tqdm = _tqdm() if sys.stderr.isatty() else None
    if tqdm is not None:
        yield from tqdm(steps, desc=group, unit="run")
        return
    print(f"{group}: {len(steps)} runs", end=" ... ", file=sys.stderr, flush=True)
    start = time.perf_counter()
    yield from steps
    print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)


def _tqdm() -> Any | None:
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm
