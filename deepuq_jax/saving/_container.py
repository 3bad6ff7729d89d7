"""Arrays and strings in a safetensors file with a checksum.

docs/file-format.md describes the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from deepuq_jax._checks import expected
from deepuq_jax.saving._strict_json import loads
from deepuq_jax.saving.atomic import write_file

_NUMPY_NAMES = {
    "BOOL": "bool",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
}
DTYPES = {name: np.dtype(numpy_name) for name, numpy_name in _NUMPY_NAMES.items()} | {"BF16": np.dtype(jnp.bfloat16)}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_METADATA = "__metadata__"
_LENGTH = 8
_MAX_HEADER = 100_000_000
_NO_DIGEST = "0" * 64
_CHECKSUM = re.compile(rb'"sha256":"([0-9a-f]{64})"')


class Contents(NamedTuple):
    """The contents of a file."""

    metadata: dict[str, str]
    arrays: dict[str, np.ndarray]


def write(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays and strings to a file.

    Args:
        path: the path of the file.
        arrays: host arrays by name.
        metadata: strings by name, without "sha256".
    Raises:
        TypeError: the format has no such dtype. OSError: the file cannot be written.
    """
    for name, array in arrays.items():
        if array.dtype not in _NAMES:
            raise TypeError(expected(f"the dtype of {name}", f"to be one of {', '.join(map(str, _NAMES))}", array))
    ordered = sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0]))
    data: list[Any] = [np.ascontiguousarray(array).reshape(-1).view(np.uint8) for _, array in ordered]
    digest = hashlib.sha256(_header(ordered, metadata, _NO_DIGEST))
    for chunk in data:
        digest.update(chunk)
    write_file(path, [_header(ordered, metadata, digest.hexdigest()), *data])


def _header(ordered: list[tuple[str, np.ndarray]], metadata: Mapping[str, str], digest: str) -> bytes:
    """Return the length of the header and the header."""
    header: dict[str, Any] = {_METADATA: {**metadata, "sha256": digest}}
    start = 0
    for name, array in ordered:
        end = start + array.nbytes
        header[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH)
    return len(text).to_bytes(_LENGTH, "little") + text


def read(path: str | os.PathLike[str]) -> Contents:
    """Read a file and check it.

    The arrays are views of the bytes of the file.

    Raises:
        ValueError: the file is not whole, not of this format, or its checksum is missing or wrong.
        OSError: the file cannot be opened.
    """
    data = _bytes_of(path)
    try:
        return _parse(data)
    except ValueError as error:
        raise ValueError(f"Expected {os.fspath(path)} to be a whole file of dq.save. {error}") from error


def _bytes_of(path: str | os.PathLike[str]) -> bytearray:
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(expected(os.fspath(path), "to be a regular file", "a device or a pipe"))
        data = bytearray(status.st_size)
        if file.readinto(data) < len(data):
            raise ValueError(expected(os.fspath(path), f"to hold {len(data)} bytes", "fewer: it shrinks while read"))
        return data


def _parse(data: bytearray) -> Contents:
    size = int.from_bytes(data[:_LENGTH], "little")
    if len(data) < _LENGTH or size > min(len(data) - _LENGTH, _MAX_HEADER):
        what = f"to have at most {max(0, min(len(data) - _LENGTH, _MAX_HEADER))} bytes, which the file holds"
        raise ValueError(expected("the header", what, f"{size}"))
    end = _LENGTH + size
    _check_digest(data, end)
    header = loads("the header", bytes(data[_LENGTH:end]))
    if not isinstance(header, dict) or not isinstance(header.get(_METADATA), dict):
        raise ValueError(expected("the header", f"to be an object with {_METADATA}", "another value"))
    metadata = header.pop(_METADATA)
    if not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError(expected(_METADATA, "to hold strings", "other values"))
    arrays = {name: _array(name, entry, memoryview(data)[end:]) for name, entry in header.items()}
    _check_coverage(header, len(data) - end)
    return Contents(metadata, arrays)


def _check_digest(data: bytearray, end: int) -> None:
    found = list(_CHECKSUM.finditer(data, _LENGTH, end))
    if len(found) != 1:
        raise ValueError(expected("the header", "to hold a checksum sha256, once", f"{len(found)} of them"))
    start, stop = found[0].span(1)
    view = memoryview(data)
    digest = hashlib.sha256(view[:start])
    digest.update(_NO_DIGEST.encode())
    digest.update(view[stop:])
    if digest.hexdigest().encode() != found[0].group(1):
        raise ValueError("Expected the bytes to have the checksum of the header; got others: the file is damaged.")


def _array(name: str, entry: Any, data: memoryview) -> np.ndarray:
    what = "to have a known dtype, a shape and two offsets in the file that agree with them"
    fault = ValueError(expected(f"the entry of {name!r}", what, f"{entry!r:.200}"))
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise fault
    name_of_dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if (
        not isinstance(name_of_dtype, str)
        or name_of_dtype not in DTYPES
        or not (_are_sizes(shape) and _are_sizes(offsets))
    ):
        raise fault
    dtype = DTYPES[name_of_dtype]
    count = 1
    for length in shape:
        count *= length
    is_inside = len(offsets) == 2 and offsets[0] <= offsets[1] <= len(data)
    if len(shape) > 64 or not is_inside or offsets[1] - offsets[0] != count * dtype.itemsize:
        raise fault
    found = np.frombuffer(data[offsets[0] : offsets[1]], np.uint8)
    if dtype.kind == "b" and found.size and found.max() > 1:
        raise ValueError(expected(f"the entries of {name!r}", "to be 0 or 1, as booleans are", "others"))
    try:
        return found.view(dtype).reshape(shape)
    except ValueError:  # An axis beside one of length 0 may be longer than NumPy can count.
        raise fault from None


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _check_coverage(header: Mapping[str, Any], size: int) -> None:
    """Require arrays without gaps, up to the file's end."""
    position = 0
    for start, end in sorted(entry["data_offsets"] for entry in header.values()):
        if start != position:
            raise ValueError(expected("the arrays", f"to go on at byte {position}", f"one that starts at byte {start}"))
        position = end
    if position != size:
        raise ValueError(expected("the arrays", f"to end with the file, at byte {size}", f"an end at byte {position}"))
