"""The progress bar of `fit`."""

from __future__ import annotations

from typing import Any


def progress_bar(epochs: int, progress: bool) -> Any:
    """A tqdm bar over epochs, or without `progress` nothing that is shown."""
    if not progress:
        return _NoBar()
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError("progress=True needs tqdm: pip install 'deepuq-jax[progress]'.") from error
    return tqdm(total=epochs, unit="epoch")


class _NoBar:
    """Stands for the progress bar where there is none."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def update(self, _):
        """Nothing to show."""
