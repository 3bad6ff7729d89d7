"""Comparison with the original package, if it is installed.

The package is imported as `deepuq`; on PyPI, it is `uqdeepnn` 0.1.10.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import torch

from parity_tests.harness import Arrays, Case, cast, precisely, torch_quantities


@functools.cache
def module() -> Any | None:
    """Return ``deepuq.methods.vi``, or None if the package is absent."""
    if importlib.util.find_spec("deepuq") is None:
        return None
    return importlib.import_module("deepuq.methods.vi")


@functools.cache
def run(case: Case, dtype: str) -> Arrays | None:
    """Compute a case with the original, if it is installed and has the function."""
    original, side = module(), case.original_side
    if original is None or side is None:
        return None
    with precisely(dtype):
        return torch_quantities(case, lambda inputs: side(original, inputs), cast(case.inputs(dtype), dtype))


@contextlib.contextmanager
def fed_noise(noise: Sequence[tuple[Any, Any]], draws: int) -> Iterator[None]:
    """Replace the original's ``torch.randn_like`` by given noise.

    The original draws weight before bias, layer by layer, draw by draw.
    """
    queue = [eps[draw] for draw in range(draws) for pair in noise for eps in pair]

    def next_noise(like: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        eps = queue.pop(0)
        assert eps.shape == like.shape, "the original draws in another order"
        return eps

    with mock.patch.object(torch, "randn_like", next_noise):
        yield
    assert not queue, "the original draws less often"
