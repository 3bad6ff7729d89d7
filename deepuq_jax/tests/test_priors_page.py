"""The programs of docs/priors.md run one after the other, and those that train reach a score on digits."""

import pytest

from deepuq_jax.tests.test_any_model import ACCURATE, programs
from deepuq_jax.tests.test_any_model import PAGE as OTHER_PAGE

PAGE = OTHER_PAGE.with_name("priors.md")

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="an installed package has no docs beside it")


@pytest.mark.slow
@pytest.mark.long
def test_every_program_reaches_a_sensible_score():
    pytest.importorskip("sklearn")
    (_, shared), *ways = programs(PAGE)
    names: dict = {}
    exec(shared, names)
    scores = 0
    for heading, program in ways:
        names.pop("score", None)
        exec(program, names)
        scores += "score" in names
        assert names.get("score", 1.0) > ACCURATE, heading
    assert scores >= 7
