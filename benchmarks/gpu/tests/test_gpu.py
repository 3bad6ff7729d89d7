"""Rehearse the session on a GPU on the CPU."""

import contextlib
import io
import json

import jax
import pytest

from benchmarks.gpu import command, record, summary

# Together, these tests take too long for `make check`.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory):
    """Rehearse once; return the stages, the file with their rows, and the printed text."""
    file, printed = tmp_path_factory.mktemp("gpu") / "gpu.json", io.StringIO()
    with contextlib.redirect_stdout(printed):
        stages = command.main(["--dry", "--json", str(file)])
    return stages, file, printed.getvalue()


def test_the_rehearsal_runs_every_stage_and_writes_as_it_goes(rehearsal):
    stages, file, printed = rehearsal
    assert list(stages) == [stage.name for stage in command.STAGES]
    assert json.loads(file.read_text()) == stages
    rows = {stage: found["rows"] for stage, found in stages.items()}
    assert all(rows.values())
    assert rows["correctness"]["random words equal those of the CPU"]["equal"]
    steps = [row for name, row in rows["correctness"].items() if "then a step on NaN" in name]
    assert steps
    assert all(row["kept"] and row["bad_step"] == 30 for row in steps)
    assert all(row["share_of_tolerance"] < 1 for row in rows["parity"].values())
    timed = [value for stage in rows.values() for row in stage.values() for name, value in row.items() if "us" in name]
    assert len(timed) > 40
    assert all(value > 0 for value in timed)
    text = file.with_suffix(".md").read_text()
    assert all(f"| {name} |" in text for stage in rows.values() for name in stage)
    assert "== parity" in printed


def test_a_stage_that_is_cut_off_keeps_its_rows(tmp_path):
    file = tmp_path / "gpu.json"
    rows = record.Record("first", file)
    rows.add("one", us=1.0)
    record.Record("second", file).add("two", us=2.0)
    found = json.loads(file.read_text())
    assert found["first"]["rows"] == {"one": {"us": 1.0}}
    assert found["second"]["rows"] == {"two": {"us": 2.0}}


@pytest.mark.skipif(jax.default_backend() == "gpu", reason="there is a GPU")
def test_without_a_gpu_the_command_says_how_to_rehearse(capsys):
    with pytest.raises(SystemExit):
        command.main([])
    assert "Rehearse with --dry" in capsys.readouterr().err


def test_the_page_shows_the_committed_record():
    stages = json.loads((command.RESULTS / "gpu-h100.json").read_text())
    assert summary.block(stages) in summary.PAGE.read_text()
    assert record.markdown(stages) == (command.RESULTS / "gpu-h100.md").read_text()


def test_a_new_record_is_put_into_the_page(rehearsal, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- gpu:begin -->\n<!-- gpu:end -->\nafter")
    summary.write(rehearsal[0], page)
    lines = page.read_text().splitlines()
    assert lines[0] == "before"
    assert lines[-1] == "after"
    for heading in ("| training step, µs |", "| prediction, µs |", "| relative error |"):
        at = next(i for i, line in enumerate(lines) if line.startswith(heading))
        rows = lines[at + 2 : lines.index("", at) if "" in lines[at:] else None]
        assert rows
        assert all(row.count("|") == lines[at].count("|") for row in rows)
