"""The progress bar of `fit`."""

from __future__ import annotations

from typing import Any


def progress_bar(epochs: int, progress: bool) -> Any:
    """Create a tqdm bar over epochs, or a silent stand-in."""
    if not progress:
        return _NoBar()
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError("progress=True needs tqdm: pip install 'deepuq-jax[progress]'.") from error
    return tqdm(total=epochs, unit="epoch")


class _NoBar:
    """A silent stand-in for a progress bar."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def update(self, _):
        """Do nothing."""
