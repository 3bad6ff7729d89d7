"""How long `fit` trains."""

from __future__ import annotations

from typing import NamedTuple

from deepuq_jax._checks import check_count
from deepuq_jax.training import _defaults as default


class Length(NamedTuple):
    """Length of a run over arrays.

    Attributes:
        epochs: number of passes over the data.
        steps: number of steps in all.
    """

    epochs: int
    steps: int


def training_length(num_data: int, *, epochs: int | None = None, batch_size: int | None = None) -> Length:
    """Compute the length of `fit` over arrays.

    Args:
        num_data: number of examples.
        epochs, batch_size: arguments of `fit`; None is its default.

    >>> training_length(256, epochs=3)
    Length(epochs=3, steps=6)
    """
    size = default.BATCH_SIZE if batch_size is None else check_count("batch_size", batch_size)
    steps = -(-num_data // min(size, num_data))
    epochs = default.epochs_for(steps) if epochs is None else check_count("epochs", epochs)
    return Length(epochs, steps * epochs)
