"""The tables of parity on the pages match the committed report."""

from __future__ import annotations

import json

import pytest

from parity_tests import markers, report, summary


@pytest.fixture(scope="module")
def data() -> dict:
    return json.loads((report.RESULTS / "report.json").read_text(encoding="utf-8"))


@pytest.mark.skipif(not summary.README.exists(), reason="an installed package has no pages beside it")
@pytest.mark.parametrize(("page", "block"), [(summary.README, summary.block_in_short), (summary.PAGE, summary.block)])
def test_the_pages_show_what_the_json_says(page, block, data: dict):
    text = page.read_text(encoding="utf-8")
    assert block(data) in text
    assert markers.put(text, "parity", block(data)) == text


def test_every_case_is_counted_once(data: dict):
    counted = [line.split("|")[3] for line in summary.block(data).splitlines() if line.startswith("|")]
    total = sum(int(cell) for cell in counted if cell.strip().isdigit())
    assert total == len({(row["case"], row["dtype"]) for row in data["rows"]})


def test_the_worst_row_of_a_family_is_shown():
    rows = [
        {
            "case": name,
            "dtype": "float32",
            "errors": {"jax torch": {"absolute": error, "ulp": 10 * error, "share": 0.1}},
        }
        for name, error in (("MLP kl", 2.0), ("gaussian_kl", 3.0), ("MLP", 9.0))
    ]
    data = {"rows": rows, "devices": {"jax": "a", "torch": "b"}, "versions": {"jax": "1", "torch": "2"}}
    assert "| KL | float32 | 2 | 30 eps (3.0e+00) | - | - | 0.1 |" in summary.block(data)
    rows[0]["errors"]["jax torch"] = {"absolute": None, "ulp": None, "share": None}
    assert "| KL | float32 | 2 | not finite | - | - | beyond |" in summary.block(data)


def test_the_readme_has_the_worst_row_of_each_dtype(data: dict):
    lines = summary.block_in_short(data).splitlines()
    for dtype in ("float32", "float64", "bfloat16"):
        rows = [row for row in data["rows"] if row["dtype"] == dtype]
        share = max(error["share"] for row in rows for pair, error in row["errors"].items() if "original" not in pair)
        (line,) = [line for line in lines if line.startswith(f"| {dtype} |")]
        assert line.split("|")[2].strip() == str(len({row["case"] for row in rows}))
        assert line.endswith(f"| {share:.2g} |")


def test_the_blocks_are_put_between_the_markers(tmp_path, data: dict):
    pages = [tmp_path / "README.md", tmp_path / "results.md"]
    for page in pages:
        page.write_text("before\n<!-- parity:begin -->\nold\n<!-- parity:end -->\nafter\n", encoding="utf-8")
    summary.write(data, *pages)
    for page, block in zip(pages, (summary.block_in_short(data), summary.block(data)), strict=True):
        assert page.read_text(encoding="utf-8") == f"before\n{block}\nafter\n"
