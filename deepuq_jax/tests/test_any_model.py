"""The programs of docs/any-model.md train every kind of model to a sensible score on digits."""

import re
from pathlib import Path

import pytest

from deepuq_jax.tests.profiles import small_profile

PAGE = Path(__file__).parents[2] / "docs" / "any-model.md"
# The last images are by other writers than the first, so an ordinary network has an accuracy of about 0.92.
ACCURATE = 0.8
# `test_any_network.py` checks the other libraries and layers on smaller networks.
SMALL = ("A Flax NNX module", "A class of your own", "Any function of a pytree")

pytestmark = [
    pytest.mark.skipif(not PAGE.exists(), reason="an installed package has no docs beside it"),
    # The programs are those of a user, who may broadcast biases.
    pytest.mark.usefixtures("lenient_rank_promotion"),
]


@pytest.fixture
def lenient_rank_promotion():
    import jax

    with jax.numpy_rank_promotion("allow"):
        yield


def programs(page=PAGE):
    """Return the heading and the source of each program on a page."""
    found, heading = [], ""
    for match in re.finditer(r"^## ([^\n]*)$|```python\n(.*?)```", page.read_text(), re.S | re.M):
        heading = match[1] or heading
        if match[2]:
            found.append((heading, match[2]))
    return found


def by_heading():
    """Return the programs under each heading, without the first program, which all headings share."""
    found: dict = {}
    for heading, program in programs()[1:] if PAGE.exists() else ():
        found.setdefault(heading, []).append(program)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("heading", small_profile(by_heading(), SMALL if PAGE.exists() else ()))
def test_every_program_reaches_a_sensible_score(heading):
    pytest.importorskip("sklearn")
    pytest.importorskip("equinox")
    names: dict = {}
    exec(programs()[0][1], names)
    for program in by_heading()[heading]:
        names.pop("score", None)
        exec(program, names)
        assert names["score"] > ACCURATE


def test_the_page_has_at_least_ten_programs():
    assert sum(map(len, by_heading().values())) >= 10
