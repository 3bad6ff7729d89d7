"""The page of guarantees names tests that exist, and pages that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "guarantees.md"


@pytest.mark.skipif(not PAGE.exists(), reason="an installed package has no docs beside it")
def test_every_test_and_page_on_the_page_exists():
    text = PAGE.read_text(encoding="utf-8")
    tests = re.findall(r"`((?:deepuq|parity)_\w+/[\w/]+\.py)`", text)
    assert len(tests) > 10
    assert [name for name in tests if not (ROOT / name).exists()] == []
    targets = re.findall(r"^make (\S+)|`make ([\w-]+)`", text)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert [name for pair in targets for name in pair if name and f"\n{name}:" not in makefile] == []
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert [link for link in links if not (PAGE.parent / link).exists()] == []
