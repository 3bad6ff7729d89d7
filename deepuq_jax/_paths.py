"""Dotted paths of parameters, such as ``layers.0.kernel``, and their patterns."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any


def dotted(path: tuple[Any, ...]) -> str:
    """Join a key path of `jax.tree_util` with dots.

    >>> import jax
    >>> [dotted(path) for path, _ in jax.tree_util.tree_leaves_with_path({"layers": [{"kernel": 1}]})]
    ['layers.0.kernel']
    """
    return ".".join(_word(entry) for entry in path)


def _word(entry: Any) -> str:
    for attribute in ("key", "name", "idx"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry)


def path_matches(pattern: str, path: str) -> bool:
    """Whether `path` matches `pattern`; ``*`` matches anything, dots included.

    >>> path_matches("layers.*.kernel", "layers.0.kernel"), path_matches("*.bias", "layers.0.kernel")
    (True, False)
    """
    return fnmatchcase(path, pattern)
