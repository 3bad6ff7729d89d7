"""Checks of a function's arrays before it runs."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np

from deepuq_jax._checks import check_real, expected

P = ParamSpec("P")
R = TypeVar("R")


def real_arrays(*names: str, broadcast: bool = True, min_axes: int = 0) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Require real numbers or arrays as arguments of a function.

    The decorated function raises an error in this library's words where JAX would raise one in its own. The checks read
    dtypes and shapes, never values.

    Args:
        names: names of the arguments. One whose default is None may be None.
        broadcast: whether their shapes must broadcast.
        min_axes: the number of axes that each must have.

    >>> @real_arrays("a", "b")
    ... def add(a, b):
    ...     return a + b
    >>> add(1.0, "b")
    Traceback (most recent call last):
        ...
    TypeError: Expected b to be a real number or an array of real numbers; got str 'b'.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        parameters = inspect.signature(function).parameters
        places = {name: place for place, name in enumerate(parameters)}
        optional = {name for name in names if parameters[name].default is None}

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            shapes = []
            for name in names:
                place = places[name]
                if place >= len(args) and name not in kwargs:
                    continue
                value: Any = args[place] if place < len(args) else kwargs[name]
                if value is not None or name not in optional:
                    shapes.append(np.shape(check_real(name, value)))
                    check_axes(name, value, min_axes)
            if broadcast:
                check_broadcast(", ".join(names), shapes)
            return function(*args, **kwargs)

        return checked

    return decorate


def check_axes(name: str, value: Any, count: int) -> None:
    """Require at least so many axes."""
    if np.ndim(value) < count:
        raise ValueError(expected(name, f"to have at least {'one axis' if count == 1 else f'{count} axes'}", value))


def check_broadcast(names: str, shapes: list[tuple[int, ...]]) -> None:
    """Require shapes that broadcast."""
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(expected(names, "of shapes that broadcast", f"{', '.join(map(str, shapes))}")) from None


def broadcasts_to(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether an array of this shape broadcasts to the target.

    >>> broadcasts_to((1, 2), (3, 2)), broadcasts_to((3, 2), (2,))
    (True, False)
    """
    try:
        return np.broadcast_shapes(shape, target) == target
    except ValueError:
        return False
