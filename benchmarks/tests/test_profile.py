"""The profile times the named parts, and the README of the benchmarks shows the committed record."""

import json

import pytest

from benchmarks import __main__ as commands
from benchmarks.speed import profile, results
from benchmarks.speed.workloads import Train, mlp
from parity_tests.markers import put

# Together, these tests take too long for `make check`.
pytestmark = pytest.mark.slow

FILE = results.RESULTS / "profile-cpu.json"
TINY = mlp(3, 4, 1, num_data=100)


@pytest.mark.skipif(not profile.NOTES.exists(), reason="an installed package has no notes beside it")
def test_the_notes_show_the_committed_record():
    text = profile.NOTES.read_text(encoding="utf-8")
    assert put(text, "profile", profile.summary(json.loads(FILE.read_text()))) == text


def test_a_part_left_out_costs_the_time_saved():
    rows = [
        ("the step", None, 4e-3),
        ("the check", "the step", 3.5e-3),
        ("noise", "the check", 2.5e-3),
        ("Adam", None, 2e-3),
    ]
    rows = [{"part": part, "left_out_of": of, "median_s": median} for part, of, median in rows]
    record = {"environment": {"device": "a", "cores": 2, "precision": "float32", "commit": "c"}, "rounds": 3}
    text = profile.summary({**record, "profiles": [{"title": "jax", "rows": rows}]})
    assert "| jax | | 4,000 | |" in text
    assert "| | the check | 500 | 12% |" in text
    assert "| | noise | 1,000 | 25% |" in text
    assert "| | Adam | 2,000 | 50% |" in text


@pytest.mark.parametrize("part", ["the check", "noise", "KL", "Adam"])
def test_a_step_without_a_part_trains(part):
    work = Train(TINY, batch=8, steps=30)
    run = profile.scanned_without(work, part)
    losses = [run() for _ in range(3)]
    assert all(epoch.shape == (30,) for epoch in losses)
    assert losses[-1].mean() < losses[0].mean()


@pytest.mark.long
def test_the_command_times_every_part(monkeypatch, tmp_path, capsys):
    small = tuple((title, make, TINY, 8, 2) for title, make, *_ in {p[0]: p for p in profile.PROFILES}.values())
    monkeypatch.setattr(profile, "PROFILES", small)
    file = tmp_path / "profile.json"
    assert commands.main(["profile", "--rounds", "1", "--json", str(file)]) == 0
    record = json.loads(file.read_text())
    assert [len(found["rows"]) for found in record["profiles"]] == [6, 5, 4]
    assert all(row["median_s"] > 0 for found in record["profiles"] for row in found["rows"])
    assert profile.summary(record) in capsys.readouterr().out
    for options in (["--rounds", "0"], ["--redraw"]):
        with pytest.raises(SystemExit):
            commands.main(["profile", *options])


def test_a_record_is_shown_without_a_measurement(monkeypatch, capsys):
    monkeypatch.setattr(profile, "measure", None)
    assert commands.main(["profile", "--redraw", "--json", str(FILE)]) == 0
    assert profile.summary(json.loads(FILE.read_text())) in capsys.readouterr().out
