"""The original package, `deepuq` (uqdeepnn 0.1.10 on PyPI), as a third column where it happens to be installed."""

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
    """``deepuq.methods.vi``, or None where the package is absent."""
    if importlib.util.find_spec("deepuq") is None:
        return None
    return importlib.import_module("deepuq.methods.vi")


@functools.cache
def run(case: Case, dtype: str) -> Arrays | None:
    """The original's quantities of a case; None where it is absent or the case is not one it can do."""
    original, side = module(), case.original_side
    if original is None or side is None:
        return None
    with precisely(dtype):
        return torch_quantities(case, lambda inputs: side(original, inputs), cast(case.inputs(dtype), dtype))


@contextlib.contextmanager
def fed_noise(noise: Sequence[tuple[Any, Any]], draws: int) -> Iterator[None]:
    """The original draws with ``torch.randn_like``, weight before bias, layer by layer, draw by draw: feed it that."""
    queue = [eps[draw] for draw in range(draws) for pair in noise for eps in pair]

    def next_noise(like: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        eps = queue.pop(0)
        assert eps.shape == like.shape, "the original draws in another order"
        return eps

    with mock.patch.object(torch, "randn_like", next_noise):
        yield
    assert not queue, "the original draws less often"
