"""The committed report is complete and matches its data."""

from __future__ import annotations

import json
import shutil

import pytest

from parity_tests import __main__ as parity
from parity_tests import cases, plot, report, summary, trajectories
from parity_tests.harness import DTYPES, Error


@pytest.fixture(scope="module")
def data() -> dict:
    return json.loads((report.RESULTS / "report.json").read_text(encoding="utf-8"))


def test_markdown_is_made_of_the_json(data: dict):
    assert (report.RESULTS / "report.md").read_text(encoding="utf-8") == report.markdown(data)


def test_committed_report_is_within_tolerance(data: dict):
    assert report.passes(data)


def test_no_error_uses_more_than_half_of_its_tolerance(data: dict):
    """Leave room for other machines, which round differently.

    If a case uses more than a half, derive a better bound for it rather than a looser one.
    """
    pairs = ("jax torch", "jax reference", "torch reference")
    shares = [
        (row["errors"][pair]["share"], row["case"]) for row in data["rows"] for pair in pairs if pair in row["errors"]
    ]
    assert max(shares)[0] <= 0.5, max(shares)


def test_every_case_has_its_rows(data: dict):
    expected = {(case.name, dtype) for case in cases.ALL for dtype in case.dtypes}
    expected |= {(run.name, dtype) for run in trajectories.RUNS for dtype in DTYPES}
    assert {(row["case"], row["dtype"]) for row in data["rows"]} == expected


def test_written_files_read_back(tmp_path, data: dict):
    report.write(data, tmp_path / "new" / "report.json")
    assert json.loads((tmp_path / "new" / "report.json").read_text()) == data


def test_an_error_beyond_its_tolerance_shows():
    infinite = report._plain(Error(float("inf"), float("inf"), float("inf")))
    beyond = report._plain(Error(0.1, 3.0, 1.5))
    assert "not finite" in report._cell(infinite)
    assert "beyond" in report._cell(beyond)
    for bad in (infinite, beyond):
        assert not report.passes({"rows": [{"errors": {"jax torch": bad}}]})
        assert report.passes({"rows": [{"errors": {"original torch": bad}}]})


def test_the_command_draws_what_it_reads_and_leaves_the_pages_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(summary, "write", None)
    file, picture = tmp_path / "again.json", tmp_path / "pictures" / "again.png"
    shutil.copy(report.RESULTS / "report.json", file)
    assert parity.main(["--render", "--json", str(file), "--plot", str(picture)]) == 0
    assert file.with_suffix(".md").read_text(encoding="utf-8") == (report.RESULTS / "report.md").read_text("utf-8")
    assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit, match="2"):
        parity.main(["--render", "--out", str(tmp_path / "nowhere")])
    assert "Expected a file that exists with --render" in capsys.readouterr().err


def test_every_error_has_its_place_in_the_picture(data: dict):
    axes = plot.figure(data).axes
    drawn = sum(len(line.get_xdata()) for axis in axes for line in axis.lines if line.get_marker() == "o")
    assert drawn == sum(pair in summary.PAIRS for row in data["rows"] for pair in row["errors"])
    not_finite, tiny = plot._place(None), plot._place(0.0)
    assert tiny < 1.0 < not_finite
