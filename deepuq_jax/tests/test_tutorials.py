"""Every tutorial runs from top to bottom, follows the rules for its text, and ends in a picture."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "tutorials"
TUTORIALS = sorted(FOLDER.glob("[0-9]*.md"))
MAX_LINES = 150
# Numbers that are not results: those in references to papers and sections, and in links.
_REFERENCE = re.compile(r"arXiv\s+[\d.]+|section [\d.]+|\]\([^)]*\)")
_NUMBER = re.compile(r"\d+\.\d+|\d+(?= %)")
# After the cells, the program looks for figures, which may have been made without pyplot.
_LAST = """
import gc
from matplotlib.figure import Figure
assert any(issubclass(type(thing), Figure) for thing in gc.get_objects()), "no picture"
"""

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="an installed package has no docs beside it")


def cells(text):
    """Return (is shown, source) of each code cell."""
    found = re.findall(r"^```\{code-cell\} ipython3\n((?::.*\n)*)(.*?)^```$", text, re.S | re.M)
    return [("remove-cell" not in options, source) for options, source in found]


def prose(text):
    """Return the text without its head and its cells."""
    body = text.split("---\n", 2)[2]
    return _REFERENCE.sub("", re.sub(r"^```.*?^```$", "", body, flags=re.S | re.M))


@pytest.fixture(params=TUTORIALS, ids=lambda path: path.stem)
def tutorial(request):
    return request.param


def test_all_tutorials_are_listed_in_order():
    listed = re.findall(r"^([0-9]+-[\w-]+)$", (FOLDER / "index.md").read_text(encoding="utf-8"), re.M)
    assert listed == [path.stem for path in TUTORIALS]
    assert len(listed) > 10


def test_the_text_follows_its_rules(tutorial):
    text = tutorial.read_text(encoding="utf-8")
    lines = text.splitlines()
    assert len(lines) < MAX_LINES
    assert max(map(len, lines)) <= 124
    assert text.startswith("---\njupytext:\n")
    assert "\nkernelspec:\n" in text
    assert text.count("{code-cell}") == len(cells(text)) > 2
    assert "## What to try next" in text


def test_each_cell_compiles_and_the_last_makes_a_picture(tutorial):
    found = cells(tutorial.read_text(encoding="utf-8"))
    for _, source in found:
        compile(source, tutorial.name, "exec")
    is_shown, last = found[-1]
    assert is_shown
    assert re.search(r"\bplt\.|\bplot_", last)
    assert any(re.search(r"^ *assert ", source, re.M) for _, source in found)


def test_each_result_in_the_text_is_a_number_in_the_code(tutorial):
    text = tutorial.read_text(encoding="utf-8")
    code = "\n".join(source for _, source in cells(text))
    in_code = {float(number) for number in re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?:e-?\d+)?", code)}
    for number in _NUMBER.findall(prose(text)):
        value = float(number)
        assert value in in_code or any(abs(value / 100 - other) < 1e-9 for other in in_code), number


@pytest.mark.long
def test_tutorial_runs(tutorial, tmp_path):
    """The cells run as a program in a process of their own, with warnings as errors."""
    program = tmp_path / "tutorial.py"
    program.write_text("\n".join(source for _, source in cells(tutorial.read_text(encoding="utf-8"))) + _LAST)
    # A reader runs the tutorial with all of XLA's optimizations.
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    environment |= {"MPLBACKEND": "agg", "PYTHONPATH": str(FOLDER.parents[1])}
    command = [sys.executable, "-W", "error", str(program)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
