"""The README's table of parity is what the committed report says."""

from __future__ import annotations

import json

import pytest

from parity_tests import report, summary


@pytest.fixture(scope="module")
def data() -> dict:
    return json.loads((report.RESULTS / "report.json").read_text(encoding="utf-8"))


@pytest.mark.skipif(not summary.README.exists(), reason="an installed package has no README beside it")
def test_the_readme_shows_what_the_json_says(data: dict):
    text = summary.README.read_text(encoding="utf-8")
    assert summary.block(data) in text
    assert summary.put(text, summary.block(data)) == text


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


def test_the_block_is_put_between_the_markers(tmp_path, data: dict):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{summary.BEGIN}\nold\n{summary.END}\nafter\n", encoding="utf-8")
    summary.write(data, readme)
    assert readme.read_text(encoding="utf-8") == f"before\n{summary.block(data)}\nafter\n"


@pytest.mark.parametrize(
    "text", ["none", summary.BEGIN, f"{summary.END} {summary.BEGIN}", summary.BEGIN * 2 + summary.END]
)
def test_a_text_without_its_markers_is_refused(text: str):
    with pytest.raises(ValueError, match="Expected"):
        summary.put(text, "new")
