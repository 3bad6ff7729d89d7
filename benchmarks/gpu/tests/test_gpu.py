"""The session on a GPU is rehearsed on the CPU, line by line."""

import json

import jax
import pytest

from benchmarks.gpu import command, record


def test_the_rehearsal_runs_every_stage_and_writes_as_it_goes(tmp_path, capsys):
    file = tmp_path / "gpu.json"
    stages = command.main(["--dry", "--json", str(file)])
    assert list(stages) == [stage.name for stage in command.STAGES]
    assert json.loads(file.read_text()) == stages
    rows = {stage: found["rows"] for stage, found in stages.items()}
    assert all(rows.values())
    assert rows["correctness"]["random words, to the CPU's"]["equal"]
    steps = [row for name, row in rows["correctness"].items() if "then one on NaN" in name]
    assert steps
    assert all(row["kept"] and row["bad_step"] == 30 for row in steps)
    assert all(row["share_of_tolerance"] < 1 for row in rows["parity"].values())
    timed = [value for stage in rows.values() for row in stage.values() for name, value in row.items() if "us" in name]
    assert len(timed) > 40
    assert all(value > 0 for value in timed)
    text = file.with_suffix(".md").read_text()
    assert all(f"| {name} |" in text for stage in rows.values() for name in stage)
    assert "== parity" in capsys.readouterr().out


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
