"""The programs of docs/priors.md do what they say there, those that train to a sensible score on digits."""

import pytest

from deepuq_jax.tests.test_any_model import ACCURATE, run, ways
from deepuq_jax.tests.test_any_model import PAGE as OTHER_PAGE

PAGE = OTHER_PAGE.with_name("priors.md")

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="an installed package has no docs beside it")


@pytest.mark.parametrize("heading", ways(PAGE))
def test_every_program_reaches_a_sensible_score(heading):
    pytest.importorskip("sklearn")
    assert all(score is None or score > ACCURATE for score in run(heading, PAGE))


def test_most_programs_have_a_score():
    assert sum("score = " in program for programs in ways(PAGE).values() for program in programs) >= 7
