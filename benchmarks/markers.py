"""Blocks of text that a program writes into a page, each between two markers."""

from __future__ import annotations


def block(name: str, lines: list[str]) -> str:
    """The markers of a name with lines between them."""
    begin, end = _markers(name)
    return "\n".join([begin, "", *lines, "", end])


def put(text: str, name: str, new: str) -> str:
    """A text with the block in place of what stood between its markers.

    >>> put("a <!-- speed:begin --> old <!-- speed:end --> b", "speed", "new")
    'a new b'
    """
    begin, end = _markers(name)
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"Expected the text to hold {begin} and, after it, {end}, once each; got something else.")
    before, rest = text.split(begin)
    return before + new + rest.split(end)[1]


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
