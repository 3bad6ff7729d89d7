"""Checks of a function's arrays before it runs."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from deepuq_jax._checks import LARGEST, check_real, describe, expected, is_concrete, is_integer, is_real_dtype, short

P = ParamSpec("P")
R = TypeVar("R")
# Rounding may take 16-bit probabilities above 1 by this much.
_ROUNDING = 1e-2


def real_arrays(*names: str, broadcast: bool = True, min_axes: int = 0) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Require real numbers or arrays as arguments of a function.

    The decorated function raises errors in the words of this library instead of errors of JAX. The checks read dtypes
    and shapes, never values.

    Args:
        names: names of the arguments. An argument whose default is None may be None.
        broadcast: whether their shapes must broadcast.
        min_axes: the least number of axes of each argument.

    >>> @real_arrays("a", "b")
    ... def add(a, b):
    ...     return a + b
    >>> add(1.0, "b")
    Traceback (most recent call last):
        ...
    TypeError: Expected b to be a number or an array of real numbers; got str 'b'.
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
    """Require at least `count` axes."""
    if np.ndim(value) < count:
        raise ValueError(expected(name, f"to have at least {'one axis' if count == 1 else f'{count} axes'}", value))


def check_broadcast(names: str, shapes: list[tuple[int, ...]]) -> None:
    """Require shapes that broadcast."""
    try:
        jnp.broadcast_shapes(*shapes)  # NumPy cannot compare the symbolic lengths of `jax.export`.
    except ValueError:
        raise ValueError(expected(names, "of shapes that broadcast", f"{', '.join(map(str, shapes))}")) from None


def broadcasts_to(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether an array of this shape broadcasts to the target.

    >>> broadcasts_to((1, 2), (3, 2)), broadcasts_to((3, 2), (2,))
    (True, False)
    """
    try:
        return jnp.broadcast_shapes(shape, target) == target
    except ValueError:
        return False


def check_lengths(name: str, shape: Any) -> tuple[int, ...]:
    """Return a shape, whose axes may have length 0."""
    if isinstance(shape, str) or not np.iterable(shape):
        raise TypeError(expected(name, "to be a sequence of ints", shape))
    lengths = tuple(shape)
    for length in lengths:
        if not is_integer(length):
            raise TypeError(expected(name, "to hold ints", length))
        if not 0 <= length <= LARGEST:
            raise ValueError(expected(name, "to hold lengths of axes, from 0 to 2^31 - 1", length))
    return tuple(int(length) for length in lengths)


def check_axis(name: str, axis: Any) -> tuple[int, ...]:
    """Return one axis or several as a tuple of ints."""
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    if not all(is_integer(one) for one in axes):
        raise TypeError(expected(name, "to be an int or a sequence of ints", axis))
    return tuple(int(one) for one in axes)


def check_dtype(name: str, dtype: Any) -> Any:
    """Return a dtype of real numbers, narrowed if JAX has only 32 bits."""
    # jnp.float32 and its like are objects with a dtype, but not arrays.
    is_scalar_type = hasattr(dtype, "dtype") and not hasattr(dtype, "shape")
    # NumPy warns of the deprecated alias "a" for bytes; no name of a real dtype starts so.
    is_bytes = isinstance(dtype, str) and dtype.lstrip("<>=|").startswith("a")
    found = None
    if not is_bytes and (isinstance(dtype, (np.dtype, str, type)) or is_scalar_type):
        with contextlib.suppress(TypeError):
            found = np.dtype(dtype)
    if found is None or not is_real_dtype(found):
        raise TypeError(expected(name, "to be a dtype of real numbers", f"{short(dtype)}"))
    return jax.dtypes.canonicalize_dtype(found)


def check_at_least_zero(name: str, values: Any) -> None:
    """Require concrete numbers, such as variances, not to be negative; NaN passes."""
    if is_concrete(values) and values.size and (lowest := np.asarray(values).min()) < 0:
        raise ValueError(expected(name, "to be at least 0", f"{lowest} among its entries"))


def check_probabilities(name: str, values: Any) -> None:
    """Require concrete probabilities to be from 0 to 1, up to rounding; NaN passes."""
    if is_concrete(values) and values.size:
        low, high = np.asarray(values).min(), np.asarray(values).max()
        if low < 0 or high > 1 + _ROUNDING:
            message = expected(name, "to hold probabilities, from 0 to 1", f"{low} to {high}")
            raise ValueError(f"{message} The probabilities of logits are jax.nn.softmax(logits).")


def check_choice(name: str, value: Any, choices: tuple[str, str]) -> None:
    """Require one of two words."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(expected(name, f"to be {' or '.join(map(repr, choices))}", f"{value!r}"))


def check_instance(name: str, value: Any, kind: Any, what: str) -> None:
    """Require an instance of a class, which the message describes by `what`."""
    if not isinstance(value, kind):
        raise TypeError(expected(name, what, describe(value)))
