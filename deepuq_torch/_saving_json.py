"""JSON that reads back as it was written.

It contains no NaN and no infinity, and no object has a key twice.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from ._checks import fault


def to_json(name: str, value: Any) -> str:
    """Write a value as JSON.

    Raises:
        ValueError: a number is not finite, or the value contains itself.
        TypeError: reading would not give the value back, because it contains tuples, tensors or keys that are not
            strings.
    """
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (ValueError, RecursionError) as error:
        raise ValueError(fault(name, "to hold finite numbers, and not itself", error)) from error
    except TypeError as error:
        raise TypeError(fault(name, "to hold strings, numbers, lists and dicts", error)) from error
    if not _reads_back(json.loads(text), value):
        wanted = "to read back from JSON unchanged (use strings as keys, and lists instead of tuples)"
        raise TypeError(fault(name, wanted, repr(value)))
    return text


def from_json(name: str, text: str | bytes) -> Any:
    """Read a value from strict JSON.

    Raises:
        ValueError: the text is not UTF-8 or not strict JSON.

    Example:
        >>> from_json("text", '{"a": [1, 2.5]}')
        {'a': [1, 2.5]}
    """
    try:
        decoded = text if isinstance(text, str) else text.decode("utf-8")
        return json.loads(
            decoded, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_without_duplicates
        )
    except (ValueError, RecursionError) as error:
        raise ValueError(fault(name, "to be JSON", error)) from error


def _reads_back(read: Any, written: Any) -> bool:
    if isinstance(written, dict):
        alike = isinstance(read, dict) and list(read) == list(written)
        return alike and all(_reads_back(read[key], written[key]) for key in read)
    if isinstance(written, list):
        return isinstance(read, list) and all(map(_reads_back, read, written))
    return read == written and isinstance(written, (str, int, float, type(None)))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"the number {name}")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]}")
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"the key {twice!r} twice")
    return found
