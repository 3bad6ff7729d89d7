"""Argument checks with one wording: ``Expected <name> ...; got <value>.``"""

from __future__ import annotations

import numbers
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

# The longest value that a message shows in full.
_SHOWN = 80
# The largest count and the longest axis, since JAX counts in 32 bits.
LARGEST = 2**31 - 1


def is_concrete(value: Any) -> bool:
    """Whether `value` is an array whose values this process can read.

    A tracer is not, nor is an array whose parts lie in several processes.
    """
    if not isinstance(value, jax.Array):
        return isinstance(value, np.ndarray)
    return not isinstance(value, Tracer) and (value.is_fully_addressable or value.is_fully_replicated)


def _is_on_host(array: Any) -> bool:
    if not isinstance(array, jax.Array):
        return True
    return array.is_fully_addressable and all(device.platform == "cpu" for device in array.devices())


def describe(value: Any) -> str:
    """Describe `value` briefly for an error message."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}[{', '.join(map(str, value.shape))}]"
    return f"{type(value).__name__} {short(value)}"


def short(value: Any) -> str:
    """Show a value, shortened after 80 characters.

    Python refuses to print an integer of thousands of digits, so its length is shown instead.
    """
    if isinstance(value, int) and abs(value).bit_length() > 256:
        return f"an integer of {value.bit_length()} bits"
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."


def expected(name: str, what: str, value: Any) -> str:
    """Word the error message about an argument."""
    return f"Expected {name} {what}; got {value if isinstance(value, str) else describe(value)}."


def check_count(name: str, value: Any) -> int:
    """Return `value` if it is a positive int.

    Raises:
        ValueError: `value` is anything else, a float or a bool included.
    """
    if not is_integer(value) or value <= 0:
        raise ValueError(expected(name, "to be a positive int", short(value)))
    if value > LARGEST:
        raise ValueError(expected(name, "to be an int below 2^31", short(value)))
    return int(value)


def check_flag(name: str, value: Any) -> bool:
    """Return `value` if it is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(expected(name, "to be True or False", value))
    return bool(value)


def check_size(name: str, value: Any) -> int:
    """Return the size of an axis if it is positive.

    Raises:
        TypeError: `value` is not an integer; floats and bools are not. ValueError: it is not positive.
    """
    if not is_integer(value):
        raise TypeError(expected(name, "to be an integer", f"{value!r}"))
    return check_count(name, value)


def is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_))


def check_real(name: str, value: Any) -> Any:
    """Return a real number, an array of real numbers or a tracer unchanged.

    Booleans count as 0 and 1. Values that JAX cannot hold are refused here, because the conversion by JAX would raise
    an error in other words, drop the mask of a masked array, or end the process (a long double).

    Raises:
        TypeError: `value` is something else, such as a list, a complex number or a masked array. ValueError: it is an
            integer that has too many bits.
    """
    if isinstance(value, (np.ndarray, np.generic)):
        if isinstance(value, np.ma.MaskedArray):
            raise TypeError(expected(name, "to be an array without a mask", value))
        is_real = is_real_dtype(value.dtype)
    elif isinstance(value, int):
        limits = jnp.iinfo(jnp.result_type(int))
        if not limits.min <= value <= limits.max:
            raise ValueError(
                expected(name, f"to be an integer of at most {limits.bits} bits, or a float", short(value))
            )
        return value
    elif isinstance(value, jax.Array):
        is_real = is_real_dtype(value.dtype)
    else:
        is_real = isinstance(value, float) or hasattr(value, "__jax_array__")
    if not is_real:
        raise TypeError(expected(name, "to be a number or an array of real numbers", describe(value)))
    return value


def check_array(name: str, value: Any) -> Any:
    """Return a number or an array that JAX can hold, even if complex."""
    if isinstance(value, jax.Array) or (
        isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.complexfloating)
    ):
        return value
    return check_real(name, value)


def is_real_dtype(dtype: Any) -> bool:
    """Whether JAX has this dtype, and it is one of real numbers or booleans."""
    if isinstance(dtype, np.dtype) and (not dtype.isnative or dtype.itemsize > 8):
        return False
    return jnp.issubdtype(dtype, np.bool_) or jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.floating)


def check_number(name: str, value: Any) -> Any:
    """Return a number, an array or a tracer unchanged.

    Raises:
        TypeError: `value` is anything else, a bool included. ValueError: it is an integer that has too many bits.
    """
    is_array = isinstance(value, (np.ndarray, jax.Array))
    if isinstance(value, (bool, np.bool_)) or (is_array and jnp.issubdtype(value.dtype, np.bool_)):
        raise TypeError(expected(name, "to be a number", value))
    return check_real(name, value)


def check_scalar(name: str, value: Any) -> Any:
    """Return a number or an array without axes."""
    if np.shape(check_number(name, value)) != ():
        raise ValueError(expected(name, "to be a number or a 0-d array", value))
    return value


def check_positive(name: str, value: Any) -> None:
    """Require a finite, positive number or array.

    Every entry of an array is checked; a tracer passes unchecked.
    """
    if isinstance(check_number(name, value), Tracer):
        return
    values = np.asarray(value, dtype=np.float64)
    limits = jnp.finfo(jnp.result_type(float))
    # A value outside the normal numbers of the widest dtype of JAX would turn into 0 or infinity.
    if not ((values >= float(limits.tiny)) & (values <= float(limits.max))).all():
        shown = f"{value!r}" if values.ndim == 0 else f"{values.min()} among its entries"
        raise ValueError(expected(name, "to be finite and above zero", shown))


def check_finite_number(name: str, value: Any) -> None:
    """Require a finite number or array.

    Every entry of an array is checked; a tracer passes unchecked.
    """
    if isinstance(check_number(name, value), Tracer):
        return
    if not (np.abs(np.asarray(value, dtype=np.float64)) <= float(jnp.finfo(jnp.result_type(float)).max)).all():
        raise ValueError(expected(name, "to be finite", short(value)))


def check_sizes(name: str, sizes: Any) -> tuple[int, ...]:
    """Return `sizes` as a tuple of positive ints."""
    if isinstance(sizes, str) or not np.iterable(sizes):
        raise TypeError(expected(name, "to be a sequence of positive ints", sizes))
    return tuple(check_size(f"{name}[{i}]", size) for i, size in enumerate(sizes))


def check_some(name: str, value: Any) -> None:
    """Refuse an array without entries, whose mean is NaN."""
    if value.size == 0:
        raise ValueError(expected(name, "to hold at least one example", value))


def check_param_dtype(param_dtype: Any) -> None:
    """Require a dtype of at least float32 for posteriors.

    In bfloat16, a standard deviation of 1e-3 is lost beside a mean of 1.
    """
    if not jnp.issubdtype(param_dtype, jnp.floating) or jnp.finfo(param_dtype).bits < 32:
        name = jnp.dtype(param_dtype).name
        raise ValueError(expected("param_dtype", "to be float32 or float64 (dtype= sets the compute type)", name))


def check_key(key: Any) -> None:
    """Require a single `jax.random` key."""
    if isinstance(key, (jax.Array, np.ndarray)):
        if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim == 0:
            return
        if key.dtype == jnp.uint32 and key.ndim == 1:
            return
    shown = key if isinstance(key, (jax.Array, np.ndarray, int)) else type(key).__name__
    raise TypeError(expected("key", "to be one key of jax.random.key(seed)", shown))


def check_rngs(rngs: Any) -> None:
    """Require streams of keys as Flax NNX passes them."""
    if not hasattr(rngs, "params"):
        raise TypeError(expected("rngs", "to be streams of keys, as in nnx.Rngs(0)", type(rngs).__name__))


def check_one_of(names: str, first: Any, second: Any) -> None:
    """Require at most one of two alternative arguments."""
    if first is not None and second is not None:
        raise ValueError(f"Expected only one of {names}; got both.")


def check_last_axis(name: str, x: Any, size: int) -> None:
    """Require an array whose last axis has length `size`."""
    if not hasattr(x, "shape"):
        raise TypeError(expected(name, f"to be an array [..., {size}]", x))
    if x.ndim < 1 or x.shape[-1] != size:
        raise ValueError(expected(name, f"to have shape [..., {size}]", x))
    check_real(name, x)


def check_batch(x: Any, y: Any, *, finite: bool = True) -> int:
    """Check a batch and return its number of examples.

    Args:
        x, y: pytrees of arrays with a leading batch axis.
        finite: also check that concrete arrays hold no NaN or infinity.
    Raises:
        ValueError: there is no array or no example, the lengths differ, or an entry is NaN or infinite.
        TypeError: a leaf is not an array.
    """
    leaves = [(name, leaf) for name, tree in (("x", x), ("y", y)) for leaf in jax.tree.leaves(tree)]
    if not leaves:
        raise ValueError("Expected x and y to hold arrays; got none.")
    for name, leaf in leaves:
        if not hasattr(leaf, "shape"):
            raise TypeError(expected(name, "to be an array with a leading batch axis", leaf))
        if leaf.ndim < 1:
            raise ValueError(expected(name, "to have a leading batch axis", leaf))
    size = leaves[0][1].shape[0]
    for name, leaf in leaves:
        if leaf.shape[0] != size:
            raise ValueError(expected(name, f"to hold {size} examples, as x does", leaf))
        if size == 0:
            raise ValueError(expected(name, "to hold at least one example", leaf))
        if finite and is_concrete(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating):
            _check_finite_data(name, leaf)
    return size


def _check_finite_data(name: str, leaf: Any) -> None:
    # NumPy reads what is in this process's memory without compiling a program; data of an accelerator stay there.
    all_finite = np.isfinite(np.asarray(leaf)).all() if _is_on_host(leaf) else jnp.isfinite(leaf).all()
    if isinstance(all_finite, Tracer):  # Inside a trace, JAX stages even a concrete array; NumPy reads its values.
        all_finite = np.isfinite(np.asarray(leaf)).all()
    if not all_finite:
        raise ValueError(expected(name, "to be finite", "NaN or infinity among its entries"))


def check_range(name: str, what: str, values: Any, size: int) -> None:
    """Require concrete integers from 0 to size - 1."""
    if is_concrete(values) and values.size:
        low, high = int(np.asarray(values).min()), int(np.asarray(values).max())
        if low < 0 or high >= size:
            raise ValueError(expected(name, f"to be {what} from 0 to {size - 1}", f"{low} to {high}"))


def nan_outside(values: Any, size: int, result: Array) -> Array:
    """Replace results by NaN where integers are not in 0 to size - 1.

    This is `check_range` inside `jit`, where no error can be raised. Concrete integers have passed `check_range`.
    """
    return result if is_concrete(values) else jnp.where((values >= 0) & (values < size), result, jnp.nan)


def check_optimizer(name: str, optimizer: Any) -> None:
    """Require an optax optimizer.

    Raises:
        TypeError: `optimizer` is something else, such as a learning rate.
    """
    if isinstance(optimizer, type) or not (callable(getattr(optimizer, "init", None)) and hasattr(optimizer, "update")):
        found = getattr(optimizer, "__name__", None) or f"{type(optimizer).__name__} {optimizer!r}"
        raise TypeError(expected(name, "to be an optax optimizer, as in optax.adam(1e-3)", f"{found}"))


def check_num_data(num_data: Any) -> None:
    """Require a positive number of examples; a 0-d tracer passes."""
    check_scalar("num_data", num_data)
    check_positive("num_data", num_data)
