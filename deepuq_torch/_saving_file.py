"""Tensors and a description in a safetensors file.

A checksum covers every byte. ``docs/file-format.md`` describes the file, which ``deepuq_jax`` reads and writes, too.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._checks import fault
from ._saving_atomic import whole_file
from ._saving_json import from_json

_DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "U16": torch.uint16,
    "U32": torch.uint32,
    "U64": torch.uint64,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_METADATA = "__metadata__"
_FORMAT = "deepuq"
_PREFIX = 8  # bytes that hold the length of the header
_LARGEST_HEADER = 100_000_000
_NO_DIGEST = "0" * 64
_CHECKSUM = re.compile(rb'"sha256":"([0-9a-f]{64})"')
_FIELD = b'"sha256":"'


class Contents(NamedTuple):
    """The contents of a file.

    Attributes:
        description: JSON text that describes the model.
        tensors: views of the file's bytes, keyed by name.
    """

    description: str
    tensors: dict[str, Tensor]


def write_file(path: str | os.PathLike[str], description: str, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors and a description, whole or not at all.

    Raises:
        ValueError: a tensor has no values, or its dtype is not in the format.
        OSError: the file cannot be written.
    """
    for name, tensor in tensors.items():
        _need_storable(name, tensor)
    ordered = dict(sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])))
    start = _start_of_file(description, ordered)
    digest = hashlib.sha256(start)
    with whole_file(path) as file:
        file.write(start)
        for tensor in ordered.values():
            flat = _flat(tensor)
            values = _bytes_of(flat)
            digest.update(values)
            file.write(values)
        file.seek(start.index(_FIELD) + len(_FIELD))
        file.write(digest.hexdigest().encode())


def read_file(path: str | os.PathLike[str]) -> Contents:
    """Read a file, and check its checksum before its contents are parsed.

    Raises:
        ValueError: the file does not follow ``docs/file-format.md``.
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        content = bytearray(os.fstat(file.fileno()).st_size)
        count = file.readinto(content)
    if count < len(content):
        raise ValueError(fault("the file", f"to have its {len(content)} bytes", count))
    return parse(content)


def parse(content: bytearray) -> Contents:
    """Check the bytes of a file, and view them.

    Raises:
        ValueError: the bytes do not follow ``docs/file-format.md``.
    """
    body = _PREFIX + int.from_bytes(content[:_PREFIX], "little")
    if len(content) < _PREFIX or body > len(content) or body > _PREFIX + _LARGEST_HEADER:
        wanted = f"to fit into the {len(content)} bytes of the file, and to have at most {_LARGEST_HEADER}"
        raise ValueError(fault("the header", wanted, f"{body - _PREFIX} bytes"))
    digest = _checked_digest(content, body)
    header = from_json("the header", bytes(content[_PREFIX:body]))
    metadata = header.pop(_METADATA, None) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or metadata.keys() != {"format", "model", "sha256"}:
        raise ValueError(fault("the header", f"to hold format, model and sha256 in {_METADATA}", repr(metadata)[:80]))
    if metadata["format"] != _FORMAT or metadata["sha256"] != digest:
        raise ValueError(fault("the format", f"to be {_FORMAT!r}", repr(metadata["format"])))
    if not isinstance(metadata["model"], str):
        raise ValueError(fault("the description of the model", "to be a string", type(metadata["model"]).__name__))
    return Contents(metadata["model"], _tensors(header, content, body))


def _need_storable(name: str, tensor: Any) -> None:
    if not isinstance(tensor, Tensor):
        wanted = "to be a tensor, because a file holds only numbers"
        raise ValueError(fault(f"the state {name!r}", wanted, type(tensor).__name__))
    if tensor.dtype not in _NAMES or tensor.layout is not torch.strided or tensor.is_meta:
        wanted = f"to be dense, with values, and of a dtype among {', '.join(_NAMES.values())}"
        got = f"{tensor.dtype}, {tensor.layout}, on {tensor.device.type}"
        raise ValueError(fault(f"the tensor {name!r}", wanted, got))


def _start_of_file(description: str, tensors: Mapping[str, Tensor]) -> bytes:
    """Return the header and its length, with zeros in place of the checksum."""
    entries: dict[str, Any] = {_METADATA: {"format": _FORMAT, "model": description, "sha256": _NO_DIGEST}}
    offset = 0
    for name, tensor in tensors.items():
        end = offset + tensor.numel() * tensor.element_size()
        entries[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % _PREFIX)
    if len(header) > _LARGEST_HEADER:
        raise ValueError(fault("metadata and names", f"to fit into {_LARGEST_HEADER} bytes", len(header)))
    return len(header).to_bytes(_PREFIX, "little") + header


def _flat(tensor: Tensor) -> Tensor:
    """Return a tensor's numbers, row by row, in the memory of the host."""
    flat = tensor.detach().cpu().resolve_neg().reshape(-1)
    if flat.stride(0) != 1:  # also for one number, whose stride torch ignores
        flat = flat.clone(memory_format=torch.contiguous_format)
    return flat


def _bytes_of(flat: Tensor) -> Any:
    """Return the memory of a flat tensor, which is valid as long as the tensor lives.

    `Tensor.numpy` would need NumPy, which torch does not require.
    """
    return (ctypes.c_ubyte * (flat.numel() * flat.element_size())).from_address(flat.data_ptr())


def _checked_digest(content: bytearray, body: int) -> str:
    """Compare the checksum with the bytes, and return it."""
    whole = memoryview(content)
    found = list(_CHECKSUM.finditer(content, _PREFIX, body))
    if len(found) != 1 or content.count(_FIELD, _PREFIX, body) != 1:
        wanted = "to hold one checksum, sha256 in lower-case digits"
        raise ValueError(fault("the header", wanted, f"{len(found)} of them"))
    start, end = found[0].span(1)
    digest = hashlib.sha256(whole[:start])
    digest.update(_NO_DIGEST.encode())
    digest.update(whole[end:])
    stored = found[0][1].decode()
    if digest.hexdigest() != stored:
        wanted = f"to have the checksum {stored} that it names"
        advice = "The file is damaged, or something else has written it."
        raise ValueError(fault("the file", wanted, digest.hexdigest(), advice))
    return stored


def _tensors(header: Mapping[str, Any], content: bytearray, body: int) -> dict[str, Tensor]:
    """Return views of the bytes that the header's entries name."""
    spans = {name: _span(name, entry) for name, entry in header.items()}
    expected = 0
    for name, (start, end) in sorted(spans.items(), key=lambda item: item[1]):
        if start != expected:
            raise ValueError(fault(f"the array {name!r}", f"to start at byte {expected}, after the last one", start))
        expected = end
    if expected != len(content) - body:
        raise ValueError(fault("the arrays", f"to fill the file's {len(content) - body} bytes", f"{expected} bytes"))
    return {name: _view(name, header[name], content, body + start) for name, (start, _) in spans.items()}


def _span(name: str, entry: Any) -> tuple[int, int]:
    """Return the positions of an array's first byte, and of the byte after its last."""
    wanted = "to have a known dtype, a shape and data_offsets that fit each other"
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(fault(f"the array {name!r}", wanted, entry))
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    known = isinstance(dtype, str) and dtype in _DTYPES
    if not known or not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise ValueError(fault(f"the array {name!r}", wanted, entry))
    start, end = offsets
    if end - start != math.prod(shape) * _DTYPES[dtype].itemsize:
        raise ValueError(fault(f"the array {name!r}", wanted, entry))
    return start, end


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _view(name: str, entry: Mapping[str, Any], content: bytearray, start: int) -> Tensor:
    dtype, shape = _DTYPES[entry["dtype"]], entry["shape"]
    count = math.prod(shape) * dtype.itemsize
    if count == 0:
        return torch.empty(shape, dtype=dtype, device="cpu")
    flat = torch.frombuffer(content, dtype=torch.uint8, count=count, offset=start)
    if dtype is torch.bool and flat.max() > 1:
        raise ValueError(fault(f"the array {name!r}", "to hold booleans, 0 or 1", flat.max().item()))
    if start % dtype.itemsize:  # a copy is aligned
        flat = flat.clone()
    return flat.view(dtype).reshape(shape)
