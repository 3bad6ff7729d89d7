"""The README's table of accuracy is what the committed records say."""

import json

import pytest

from benchmarks.accuracy import summary, uci
from benchmarks.markers import put

RECORDS = (summary.UCI, summary.MNIST)


@pytest.mark.skipif(not summary.README.exists(), reason="an installed package has no README beside it")
def test_the_readme_shows_what_the_records_say():
    block = summary.accuracy(*(json.loads(path.read_text(encoding="utf-8")) for path in RECORDS))
    text = summary.README.read_text(encoding="utf-8")
    assert block in text
    assert put(text, "accuracy", block) == text


def test_a_row_has_its_numbers_or_a_dash():
    score = {"log_likelihood": -1.234, "log_likelihood_se": 0.1, "coverage": [0.5, 0.9, 0.95]}
    methods = dict.fromkeys(uci.METHODS, score)
    text = summary.regression({"sets": {"new": {"methods": methods}, "yacht": {"methods": methods}}})
    assert "| new | " + "-1.23 ± 0.10 | " * 5 + "- | - | 50 / 90 / 95 |" in text
    assert "| -0.68 | -1.25 |" in text
    row = {"name": "a", "recipe": {"hidden": 4, "epochs": 2}, "error": 1.5, "nll": 0.1, "ece": 0.2}
    pruned = {**row, "pruning": [{"pruned": 0.5, "error": 2.0}, {"pruned": 0.75, "error": 2.5}]}
    text = summary.digits({"final": [row, pruned]})
    assert "| a | 4 | 2 | 1.50 | 0.1000 | 0.20 | - |" in text
    assert "| a | 4 | 2 | 1.50 | 0.1000 | 0.20 | 2.50 |" in text
