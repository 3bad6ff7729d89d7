"""JSON that reads back as it was written.

It contains no NaN and no infinity, and no object has a key twice.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any, NoReturn

from deepuq_jax._checks import expected


def dumps(name: str, value: Any) -> str:
    """Write a value as JSON.

    Raises:
        TypeError, ValueError: the value would not read back unchanged, because it holds tuples, arrays, NaN, infinity,
            itself, or keys that are not strings.
    """
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    except RecursionError:
        raise ValueError(expected(name, "to be JSON of moderate depth", "nesting beyond the recursion limit")) from None
    except ValueError as error:
        raise ValueError(expected(name, "to hold finite numbers, and not itself", f"{error}")) from error
    except TypeError as error:
        raise TypeError(expected(name, "to hold strings, numbers, lists and dicts", f"{error}")) from error
    if not _is_same(json.loads(text), value):
        what = "to read back from JSON unchanged (use strings as keys, and lists instead of tuples)"
        raise TypeError(expected(name, what, value))
    return text


def loads(name: str, text: str | bytes) -> Any:
    """Read a value from strict JSON.

    Raises:
        ValueError: the text is not UTF-8 or not strict JSON.

    >>> loads("text", '{"a": [1, 2.5]}')
    {'a': [1, 2.5]}
    """
    try:
        decoded = text if isinstance(text, str) else text.decode("utf-8")
        return json.loads(
            decoded, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_without_duplicates
        )
    except RecursionError:
        raise ValueError(expected(name, "to be JSON of moderate depth", "nesting beyond the recursion limit")) from None
    except ValueError as error:
        raise ValueError(expected(name, "to be JSON", f"{error}")) from error


def _is_same(read: Any, written: Any) -> bool:
    if isinstance(written, dict):
        return (
            isinstance(read, dict) and list(read) == list(written) and all(_is_same(read[k], written[k]) for k in read)
        )
    if isinstance(written, list):
        return isinstance(read, list) and all(map(_is_same, read, written))
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
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {twice!r} twice")
    return found
