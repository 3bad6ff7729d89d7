"""Checks of the arguments of public functions on tensors."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

from ._checks import fault, number_or_scalar, positive_number, real_tensor

P = ParamSpec("P")
R = TypeVar("R")


def real_tensors(
    *names: str, numbers: tuple[str, ...] = (), broadcast: bool = True
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Require real, dense tensors as arguments of a function.

    The checks read the dtypes and shapes of tensors, never their values. The modules call the functions without checks.

    Args:
        names: names of the arguments that are tensors.
        numbers: names of the arguments that are numbers or tensors.
        broadcast: whether the shapes must broadcast.

    Example:
        >>> real_tensors("a")(lambda a: a + 1)("word")
        Traceback (most recent call last):
            ...
        TypeError: Expected a to be a torch.Tensor; got str.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            given = signature.bind(*args, **kwargs).arguments
            shapes = [real_tensor(name, given[name]).shape for name in names]
            for name in numbers:
                if isinstance(given[name], torch.Tensor):
                    shapes.append(real_tensor(name, given[name]).shape)
                elif name.endswith("sigma"):
                    given[name] = positive_number(name, given[name])
                else:
                    given[name] = number_or_scalar(name, given[name])
            if broadcast:
                _need_to_broadcast([*names, *numbers], shapes)
            return function(**given)  # type: ignore[call-arg]  # the same arguments, by name

        return checked

    return decorate


def _need_to_broadcast(names: list[str], shapes: list[torch.Size]) -> None:
    try:
        torch.broadcast_shapes(*shapes)
    except RuntimeError:
        found = ", ".join(str(tuple(shape)) for shape in shapes)
        raise ValueError(fault(", ".join(names), "of shapes that broadcast", found)) from None
