"""Argument checks, whose messages are ``Expected <name> ...; got <value>.``

A wrong value is a ValueError and a wrong type a TypeError. The checks read only static facts (shapes, dtypes, Python
numbers): reading a tensor's values would stall a CUDA stream and break a compiled graph. The exception is a setting
that is given as a tensor of one number (`finite_number`).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import torch

# The largest count and the longest axis.
LARGEST = 2**31 - 1


def fault(name: str, wanted: str, got: object, advice: str = "") -> str:
    """Write an error message, which may end with a sentence of advice."""
    return f"Expected {name} {wanted}; got {got}.{' ' if advice else ''}{advice}"


def autocasts(device: torch.device) -> bool:
    """Return whether autocast chooses dtypes on this device."""
    return torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)


def as_float(name: str, value: Any) -> float:
    """Convert a real number to a float, and refuse an integer beyond all floats."""
    try:
        return float(value)
    except OverflowError:
        raise ValueError(fault(name, "to be a number that a float can hold", shown(value))) from None


def shown(value: object) -> str:
    """Return the repr of a value, but only the size of a huge integer, which Python refuses to print."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an integer of {value.bit_length()} bits"
    return repr(value)


def positive_count(name: str, value: object) -> int:
    """Require a number of draws or batches; return an int.

    Every bad value is a ValueError, floats and bools included. Integers of numpy are accepted.
    """
    # int comes first: in a compiled function the count is a symbol, which is not an instance of the abstract class.
    if isinstance(value, bool) or not isinstance(value, (int, Integral)) or value <= 0:
        raise ValueError(fault(name, "to be a positive integer", repr(value)))
    if value > LARGEST:  # type: ignore[operator]  # Integral
        raise ValueError(fault(name, "to be an integer below 2^31", shown(value)))
    return value if isinstance(value, int) else operator.index(value)


def positive_size(name: str, value: object) -> int:
    """Require the size of an axis; return an int."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(fault(name, "to be an integer", repr(value)))
    size = operator.index(value)
    if size <= 0:
        raise ValueError(fault(name, "to be a positive integer", repr(value)))
    if size > LARGEST:
        raise ValueError(fault(name, "to be an integer below 2^31", shown(value)))
    return size


def positive_sizes(name: str, values: object) -> tuple[int, ...]:
    """Require the sizes of several axes; return ints."""
    if isinstance(values, str) or not isinstance(values, Iterable) or getattr(values, "ndim", 1) == 0:
        raise TypeError(fault(name, "to be a sequence of integers", repr(values)))
    return tuple(positive_size(name, size) for size in values)


def finite_number(name: str, value: object) -> float:
    """Require a finite real number; return a float.

    A tensor of a single number is accepted.
    """
    if isinstance(value, torch.Tensor):
        if value.numel() != 1 or value.dtype == torch.bool or value.is_complex():
            raise ValueError(fault(name, "to be one real number", f"a tensor of shape {tuple(value.shape)}"))
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(fault(name, "to be a real number", repr(value)))
    number = as_float(name, value)
    # math.isfinite would break the graph of a compiled function that takes the number as an argument; a comparison does
    # not.
    if not -math.inf < number < math.inf:
        raise ValueError(fault(name, "to be finite", repr(value)))
    return number


def positive_number(name: str, value: object) -> float:
    """Require a positive finite real number; return a float."""
    number = finite_number(name, value)
    if number <= 0.0:
        raise ValueError(fault(name, "to be positive", repr(value)))
    return number


def above_zero(name: str, value: object) -> float:
    """Require a number above zero, infinity included; return a float."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(fault(name, "to be a real number", repr(value)))
    number = as_float(name, value)
    if not number > 0.0:
        raise ValueError(fault(name, "to be above zero", repr(value)))
    return number


def decay(name: str, value: object) -> float:
    """Require the decay of a moving average; return a float."""
    number = finite_number(name, value)
    if not 0.0 <= number < 1.0:
        raise ValueError(fault(name, "to be at least 0 and below 1", repr(value)))
    return number


def number_or_scalar(name: str, value: object) -> float | torch.Tensor:
    """Require a finite number, or a 0-d tensor of any value."""
    if isinstance(value, torch.Tensor):
        if value.ndim != 0:
            raise ValueError(fault(name, "to be a number or a 0-d tensor", f"shape {tuple(value.shape)}"))
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float, Real)):
        raise TypeError(fault(name, "to be a number or a 0-d tensor", repr(value)))
    number = as_float(name, value)
    if not -math.inf < number < math.inf:  # by comparison, as in finite_number
        raise ValueError(fault(name, "to be finite", repr(value)))
    return value if isinstance(value, (int, float)) else number  # Real: numpy's scalars, fractions


def floating_tensor(name: str, value: object) -> torch.Tensor:
    """Require a dense tensor of a real floating dtype."""
    tensor = _tensor(name, value)
    if not tensor.is_floating_point():
        raise TypeError(fault(name, "to have a floating dtype", tensor.dtype))
    return _dense(name, tensor)


def real_tensor(name: str, value: object) -> torch.Tensor:
    """Require a dense tensor of real numbers, floating or integer."""
    tensor = _tensor(name, value)
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(fault(name, "to hold real numbers", tensor.dtype))
    return _dense(name, tensor)


def _tensor(name: str, value: object) -> torch.Tensor:
    if not isinstance(value, torch.Tensor):
        raise TypeError(fault(name, "to be a torch.Tensor", type(value).__name__))
    return value


def _dense(name: str, tensor: torch.Tensor) -> torch.Tensor:
    if tensor.layout != torch.strided:
        raise TypeError(fault(name, "to be a dense tensor", tensor.layout, f"Use {name}.to_dense()."))
    return tensor


def some_examples(name: str, value: object) -> None:
    """Refuse an empty batch, whose mean is NaN.

    Only tensors are checked; other inputs are left to the model.
    """
    if isinstance(value, torch.Tensor) and value.ndim > 0 and value.shape[0] == 0:
        raise ValueError(fault(name, "to hold at least one example", f"shape {tuple(value.shape)}"))


def flag(name: str, value: object) -> bool:
    """Require True or False."""
    if not isinstance(value, bool):
        raise TypeError(fault(name, "to be True or False", repr(value)))
    return value


def function(name: str, value: object) -> None:
    """Require a callable that is not a class, since calling a class would construct an instance."""
    if isinstance(value, type):
        advice = f"Pass an instance, {value.__name__}(...)."
        raise TypeError(fault(name, "to be a function or a module", f"the class {value.__name__}", advice))
    if not callable(value):
        raise TypeError(fault(name, "to be callable", repr(value)))


def same_shape(name: str, value: torch.Tensor, shape: tuple[int, ...] | torch.Size, of: str) -> torch.Tensor:
    """Require a tensor of exactly this shape, without broadcasting."""
    if value.shape != shape:
        advice = _to_add_or_drop_an_axis(name, tuple(value.shape), tuple(shape))
        raise ValueError(fault(name, f"to have the shape of {of}, {tuple(shape)}", tuple(value.shape), advice))
    return value


def _to_add_or_drop_an_axis(name: str, own: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """Advise to add or to drop a last axis of size 1, if this gives the wanted shape."""
    leading = ":" if min(len(own), len(wanted)) == 1 else "..."
    if (*own, 1) == wanted:
        return f"Use {name}[{leading}, None]."
    if own == (*wanted, 1):
        return f"Use {name}[{leading}, 0]."
    return ""


def broadcasts_to(name: str, value: torch.Tensor, shape: torch.Size, of: str) -> torch.Tensor:
    """Require a tensor that broadcasts to exactly this shape."""
    trailing = zip(reversed(value.shape), reversed(shape), strict=False)
    if value.ndim > len(shape) or any(size not in (1, full) for size, full in trailing):
        raise ValueError(fault(name, f"to broadcast to the shape of {of}, {tuple(shape)}", tuple(value.shape)))
    return value
