"""The programs of docs/sharp-bits.md raise the errors that are printed below them."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "sharp-bits.md"
BLOCK = re.compile(r"^```python\n(.*?)^```(?:\n\n```text\n(.*?)^```)?", re.DOTALL | re.MULTILINE)

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="an installed package has no docs beside it")


def words(text):
    """Return a text on one line, since the page breaks a message into lines."""
    return " ".join(text.split())


@pytest.mark.slow
def test_every_program_raises_the_error_printed_below_it():
    names: dict = {}
    refused = 0
    for program, said in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        code = compile(program, PAGE.name, "exec")
        if not said:
            exec(code, names)
            continue
        with pytest.raises((TypeError, ValueError)) as raised:
            exec(code, names)
        found, promised = f"{raised.type.__name__}: {words(str(raised.value))}", words(said)
        if promised.endswith(" ..."):
            found = f"{found[: len(promised) - 4]} ..."
        assert found == promised
        refused += 1
    assert refused == 14
