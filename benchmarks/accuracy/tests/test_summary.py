"""The tables of accuracy, on the pages and beside the records, show the committed records."""

import json

import pytest

from benchmarks.accuracy import draws, mnist, precision, summary, uci
from parity_tests.markers import put

RECORDS = (summary.UCI, summary.MNIST, summary.OF_DRAWS, summary.OF_PRECISION)
UCI, MNIST, OF_DRAWS, OF_PRECISION = (json.loads(path.read_text(encoding="utf-8")) for path in RECORDS)
BLOCKS = {
    "readme": (summary.README, "uci", summary.accuracy_in_short(UCI)),
    "page": (summary.PAGE, "accuracy", summary.accuracy(UCI, MNIST)),
    "trust": (summary.TRUST, "draws", draws.as_markdown(OF_DRAWS)),
    "devices": (summary.DEVICES, "precision", precision.as_markdown(OF_PRECISION)),
}


@pytest.mark.skipif(not summary.README.exists(), reason="an installed package has no README beside it")
@pytest.mark.parametrize("page", BLOCKS)
def test_the_pages_show_the_committed_records(page):
    path, name, block = BLOCKS[page]
    text = path.read_text(encoding="utf-8")
    assert block in text
    assert put(text, name, block) == text


@pytest.mark.parametrize(("path", "record", "make"), [(summary.UCI, UCI, uci), (summary.MNIST, MNIST, mnist)])
def test_the_whole_tables_show_the_committed_records(path, record, make):
    assert path.with_suffix(".md").read_text(encoding="utf-8") == make.as_markdown(record) + "\n"


def test_the_blocks_are_put_between_the_markers(tmp_path):
    paths = {page: tmp_path / f"{page}.md" for page in BLOCKS}
    for page, (_, name, _) in BLOCKS.items():
        paths[page].write_text(f"before\n<!-- {name}:begin -->\nold\n<!-- {name}:end -->\nafter\n")
    summary.write(**paths)
    for page, (_, _, block) in BLOCKS.items():
        assert paths[page].read_text(encoding="utf-8") == f"before\n{block}\nafter\n"


def test_a_row_has_its_numbers_or_a_dash():
    score = {"log_likelihood": -1.234, "log_likelihood_se": 0.1, "coverage": [0.5, 0.9, 0.95]}
    methods = dict.fromkeys(uci.METHODS, score)
    record = {"sets": {"new": {"methods": methods}, "yacht": {"methods": methods}}}
    text = summary.regression(record, with_coverage=True)
    assert "| new | " + "-1.23 ± 0.10 | " * 6 + "- | - | 50 / 90 / 95 |" in text
    assert "| -0.68 | -1.25 | 50 / 90 / 95 |" in text
    assert "| -0.68 | -1.25 |\n" in summary.regression(record, with_coverage=False) + "\n"
    row = {"name": "a", "recipe": {"hidden": 4, "epochs": 2}, "error": 1.5, "nll": 0.1, "ece": 0.2}
    pruned = {**row, "pruning": [{"pruned": 0.5, "error": 2.0}, {"pruned": 0.75, "error": 2.5}]}
    text = summary.digits({"final": [row, pruned]})
    assert "| a | 4 | 2 | 1.50 | 0.1000 | 0.20 | - |" in text
    assert "| a | 4 | 2 | 1.50 | 0.1000 | 0.20 | 2.50 |" in text
