"""A run in words that another process can compare.

A checkpoint holds the description of its run. Hashes and identities differ from process to process, so a description
holds names, numbers, and for arrays two numbers that follow from their values.
"""

from __future__ import annotations

import functools
import json
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils

from deepuq_jax._checks import describe as kind_of
from deepuq_jax._checks import is_concrete

# Rounding on another kind of device changes the two numbers of an array by less than this, relative to their scale.
_ROUNDING = 1e-5
_CHUNK = 1 << 18
# The keys, in a description, of the kind of a value and of the two numbers of an array.
_KIND, _VALUES = "is", "values"


def describe(value: Any) -> Any:
    """Describe a value as JSON that does not depend on the process.

    A function is described by its name, the floats in its code, its defaults and the variables it encloses, so
    `optax.adam(1e-2)` differs from `optax.adam(1e-3)`. An array is described by its dtype, its shape, its root mean
    square, and its projection on a fixed direction, which almost every change of an entry or of the order changes. A
    dataclass is described by its fields. Any other object is described by its repr or, if that holds an address, by its
    attributes, except for lists, dicts and sets, in which it may count or cache.

    >>> describe((1, jnp.float32(2.0)))
    [1, {'is': 'float32[]', 'values': [2.0, 2.0]}]
    """
    return json.loads(json.dumps(_described(value, ())))


def _described(value: Any, above: tuple[int, ...]) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if id(value) in above:
        return "one of those that hold it"
    above = (*above, id(value))
    for kind, rule in _RULES:
        if isinstance(value, kind):
            return rule(value, above)
    if hasattr(value, "__wrapped__"):  # A function that is compiled or cached.
        return _described(value.__wrapped__, above)
    return _of_object(value, above)


def _of_array(value: Any, above: tuple[int, ...]) -> Any:
    del above
    return {_KIND: kind_of(value), _VALUES: _summary(value)}


def _summary(array: Any) -> list[float]:
    """Compute the root mean square of the entries and their projection, both of the scale of an entry."""
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    if not is_concrete(array) and isinstance(array, jax.Array):
        return _scaled(_sums_over_processes(array), array.size)
    entries: Any = np.asarray(array).reshape(-1)
    if entries.dtype.kind in "OSU" or not entries.size:
        return []
    if np.iscomplexobj(entries):
        entries = np.stack([entries.real, entries.imag], axis=1).reshape(-1)
    sums = np.zeros(2)
    for start in range(0, entries.size, _CHUNK):
        part = entries[start : start + _CHUNK]
        sums += _sums(part, np.arange(start, start + part.size))
    return _scaled(sums, entries.size)


def _sums(entries: Any, positions: Any) -> Any:
    """Compute the sum of the squares and the projection of some entries, whose positions in the array are given."""
    # Entries that are not finite, such as the best score before the first epoch, count as fixed numbers.
    entries = np.nan_to_num(entries.astype(np.float64), nan=1.0, posinf=2.0, neginf=-2.0)
    return np.array([entries @ entries, entries @ np.cos(positions.astype(np.float64))])


def _sums_over_processes(array: Any) -> Any:
    """Compute `_sums` of an array of which each process holds a part."""
    sums = np.zeros(2)
    for shard in array.addressable_shards:
        if shard.replica_id == 0:  # Of all copies of a part, in whichever process, this one counts.
            spans = [part.indices(size) for part, size in zip(shard.index, array.shape, strict=True)]
            axes = np.ogrid[tuple(slice(*span) for span in spans)]
            positions = np.ravel_multi_index(np.broadcast_arrays(*axes), array.shape)
            sums += _sums(np.asarray(shard.data).reshape(-1), positions.reshape(-1))
    return np.sum(multihost_utils.process_allgather(sums.astype(np.float32)), axis=0, dtype=np.float64)


def _scaled(sums: Any, size: int) -> list[float]:
    return [float(sums[0] / size) ** 0.5, float(sums[1] / size**0.5)]


def _of_mapping(value: Any, above: tuple[int, ...]) -> Any:
    return {str(name): _described(item, above) for name, item in value.items()}


def _of_sequence(value: Any, above: tuple[int, ...]) -> Any:
    items = [_described(item, above) for item in value]
    if not hasattr(value, "_fields"):
        return items
    return _named(value, dict(zip(value._fields, items, strict=True)))


def _of_set(value: Any, above: tuple[int, ...]) -> Any:
    return sorted(json.dumps(_described(item, above), sort_keys=True) for item in value)


def _of_class(value: Any, above: tuple[int, ...]) -> Any:
    del above
    return f"{value.__module__}.{value.__qualname__}"


def _of_partial(value: Any, above: tuple[int, ...]) -> Any:
    return _described((value.func, value.args, value.keywords), above)


def _of_method(value: Any, above: tuple[int, ...]) -> Any:
    return _described((value.__func__, value.__self__), above)


def _of_function(value: Any, above: tuple[int, ...]) -> Any:
    code, enclosed = value.__code__, {}
    for name, cell in zip(code.co_freevars, value.__closure__ or (), strict=True):
        enclosed[name] = _described(_contents(cell), above)
    numbers = [constant for constant in code.co_consts if isinstance(constant, float)]
    defaults = _described([value.__defaults__, value.__kwdefaults__], above)
    return {_KIND: _of_class(value, above), "numbers": numbers, "defaults": defaults, **enclosed}


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # The variable is not assigned yet.
        return None


def _of_variable(value: Any, above: tuple[int, ...]) -> Any:
    return _named(value, {"value": _described(value.get_raw_value(), above)})


def _of_module(value: Any, above: tuple[int, ...]) -> Any:
    # Flax keeps its own notes in attributes with this prefix.
    own = {name: item for name, item in vars(value).items() if not str(name).startswith("_pytree__")}
    return _named(value, _of_mapping(own, above))


def _of_object(value: Any, above: tuple[int, ...]) -> Any:
    if is_dataclass(value):
        return _named(value, {field.name: _described(getattr(value, field.name), above) for field in fields(value)})
    shown = repr(value)
    if " at 0x" not in shown:
        return shown
    own = vars(value) if hasattr(value, "__dict__") else {}
    kept = {name: item for name, item in own.items() if not isinstance(item, (list, dict, set))}
    return _named(value, _of_mapping(kept, above))


def _named(value: Any, parts: dict[str, Any]) -> dict[str, Any]:
    return {_KIND: _of_class(type(value), ()), **parts}


_RULES: tuple[tuple[Any, Callable[[Any, tuple[int, ...]], Any]], ...] = (
    ((jax.Array, np.ndarray, np.generic), _of_array),
    (nnx.Variable, _of_variable),
    (nnx.Module, _of_module),
    (Mapping, _of_mapping),
    ((tuple, list), _of_sequence),
    ((set, frozenset), _of_set),
    (type, _of_class),
    (functools.partial, _of_partial),
    (types.MethodType, _of_method),
    (types.FunctionType, _of_function),
)


def differences(there: Any, here: Any, name: str = "") -> Iterator[str]:
    """Name each difference between two descriptions, in a few words.

    >>> list(differences(describe({"size": 3, "x": 0.5}), describe({"size": 4, "x": 0.5})))
    ['size was 3 and is 4']
    """
    if isinstance(there, dict) and isinstance(here, dict) and _kind(there) == _kind(here):
        for key in [*there, *(key for key in here if key not in there)]:
            if key == _KIND:
                continue
            if key == _VALUES:
                yield from _differences_of_values(there[key], here.get(key), name)
            else:
                yield from differences(there.get(key), here.get(key), f"{name}.{key}".removeprefix("."))
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        for i, (old, new) in enumerate(zip(there, here, strict=True)):
            yield from differences(old, new, f"{name}.{i}")
    elif not _is_same(there, here):
        yield f"{name} was {_short(there)} and is {_short(here)}"


def _kind(description: dict[str, Any]) -> str | None:
    """Return the kind of a described value, with the dtypes of JAX.

    A NumPy array of 64 bits is the same as the array of 32 bits that JAX makes of it.
    """
    kind = description.get(_KIND)
    if kind is None or _VALUES not in description or "<" in kind:  # A key has no NumPy dtype.
        return kind
    dtype, bracket, shape = kind.partition("[")
    return f"{jax.dtypes.canonicalize_dtype(dtype)}{bracket}{shape}"


def _is_same(there: Any, here: Any) -> bool:
    numbers = [value for value in (there, here) if isinstance(value, (int, float)) and not isinstance(value, bool)]
    # Optax replaces some integers by floats when it first needs them. As text, NaN equals NaN.
    return json.dumps(there) == json.dumps(here) or (len(numbers) == 2 and there == here)


def _differences_of_values(there: list[float], here: list[float] | None, name: str) -> Iterator[str]:
    if here is None or len(there) != len(here):
        return  # Another dtype or shape, which is named already.
    if any(abs(old - new) > _ROUNDING * there[0] for old, new in zip(there, here, strict=True)):
        yield f"{name} has other values"


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get(_KIND, "something else"))
    text = str(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
