"""Generated blocks of a page, each between two markers."""

from __future__ import annotations

import textwrap
from pathlib import Path


def block(name: str, lines: list[str]) -> str:
    """Put lines between the markers of a name."""
    begin, end = _markers(name)
    return "\n".join([begin, "", *lines, "", end])


def wrapped(text: str) -> list[str]:
    """Break a paragraph into lines."""
    return textwrap.wrap(text, width=120, break_long_words=False, break_on_hyphens=False)


def put(text: str, name: str, new: str) -> str:
    """Replace the block of a name in a text.

    Raises:
        ValueError: if the text does not contain both markers once, in order.

    >>> put("a <!-- speed:begin --> old <!-- speed:end --> b", "speed", "new")
    'a new b'
    """
    begin, end = _markers(name)
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"Expected the text to hold {begin} and, after it, {end}, once each; got something else.")
    before, rest = text.split(begin)
    return before + new + rest.split(end)[1]


def write(page: Path, name: str, new: str) -> None:
    """Replace the block of a name in a page."""
    page.write_text(put(page.read_text(encoding="utf-8"), name, new), encoding="utf-8")


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
