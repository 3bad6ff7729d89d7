"""The benchmark on small made-up sets: it runs every method, and writes what it prints."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.accuracy import tabular, tabular_methods, tabular_peers
from benchmarks.accuracy.tabular_compare import TASKS
from benchmarks.accuracy.tests.files import write_classification, write_regression

pytestmark = pytest.mark.slow

SMALL = replace(tabular_methods.QUICK, epochs=3, draws=5)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A folder of two sets, of which --quick takes the smaller."""
    monkeypatch.setattr(tabular, "QUICK", SMALL)
    write_classification(tmp_path)
    write_classification(tmp_path, "larger", rows=80)
    return tmp_path


def arguments_for(folder):
    return ["--quick", "--data-dir", str(folder), "--json", str(folder / "t.json"), "--cache", str(folder / "cache")]


@pytest.mark.long
def test_the_command_writes_what_it_prints(made, compilations, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    arguments = arguments_for(made)
    tabular.main([*arguments, "--splits", "1"])
    programs = len(compilations)
    record = tabular.main(arguments)
    # The second split finds the programs of the first, whichever gain it chooses.
    assert len(compilations) == programs
    saved = json.loads((made / "t.json").read_text())
    assert saved["classification"] == json.loads(json.dumps(record["classification"]))
    assert list(saved["classification"]) == ["labels"]
    found = saved["classification"]["labels"]
    assert (found["trained_on"], found["splits"], found["left_out"]) == (48, 2, {})
    methods = found["methods"]
    assert set(methods) == set(TASKS["classification"].order)
    assert all(len(row["per_split"]) == 2 and np.isfinite(row["nll"]) for row in methods.values())
    notes = methods[tabular_methods.FIT]["notes"]
    assert all(note["draws"] == 5 and note["default_draws"] > 5 for note in notes)
    assert {note["gain"] for note in methods[tabular_methods.TUNED]["notes"]} <= set(SMALL.gains)
    text = (made / "t.md").read_text()
    assert f"{methods[tabular_methods.FIT]['nll']:.3f} ± {methods[tabular_methods.FIT]['nll_se']:.3f}" in text
    assert text.strip() in capsys.readouterr().out
    assert (made / "t.png").stat().st_size > 0
    again = tabular.main([*arguments, "--fit-only"])["classification"]["labels"]["methods"]
    assert again[tabular_methods.FIT]["per_split"] == methods[tabular_methods.FIT]["per_split"]
    lacking = tabular.main([*arguments, "--without", tabular_methods.TUNED])["classification"]["labels"]["methods"]
    assert tabular_methods.TUNED not in lacking
    added = tabular.main([*arguments, "--only", tabular_methods.TUNED])["classification"]["labels"]["methods"]
    assert {name: row["per_split"] for name, row in added.items()} == {
        name: row["per_split"] for name, row in methods.items()
    }

    def refuse(*_, **__):
        raise AssertionError

    monkeypatch.setattr(tabular, "_scored", refuse)  # Finished parts are kept, and nothing is run again.
    assert json.dumps(tabular.main(arguments)["classification"]) == json.dumps(record["classification"])
    assert tabular.main([*arguments, "--redraw"])["classification"] == saved["classification"]


@pytest.mark.long
def test_the_command_runs_regression(made):
    pytest.importorskip("matplotlib")
    write_regression(made)
    record = tabular.main([*arguments_for(made), "--sets", "made", "--splits", "1"])
    assert record["classification"] == {}
    methods = record["regression"]["made"]["methods"]
    assert set(methods) == set(TASKS["regression"].order)
    assert all(row["nll_se"] is None and len(row["coverage"]) == 3 for row in methods.values())
    assert set(methods[tabular_methods.TUNED]["notes"][0]) == {"noise", "gain"}
    text = (made / "t.md").read_text()
    assert "Coverage of the central 50 / 90 / 95 % intervals" in text


def test_a_set_with_too_many_rows_is_not_given_to_a_gaussian_process(made):
    kind = tabular.KINDS["classification"]
    runners = [runner._replace(most_rows=50) for runner in kind.runners if runner.name == tabular_peers.LOGISTIC]
    kind = kind._replace(runners=tuple(runners))
    options = dict(splits=1, seed=0, plan=SMALL, without=[])
    for name, left_out in (("labels", {}), ("larger", {tabular_peers.LOGISTIC: "it is run up to 50 training rows"})):
        found = tabular.measure(kind, kind.load(name, made), tabular.report.Parts(None), **options)
        assert found["left_out"] == left_out
        assert bool(found["methods"]) != bool(left_out)
    options["without"] = [tabular_peers.LOGISTIC]
    found = tabular.measure(kind, kind.load("labels", made), tabular.report.Parts(None), **options)
    assert found["methods"] == {}


def test_bad_options_are_refused_in_a_sentence(made, monkeypatch, capsys):
    monkeypatch.delenv("DEEPUQ_DATA", raising=False)
    (made / "empty").mkdir()
    for arguments, words in (
        ([], "Expected --data-dir"),
        (["--data-dir", str(made / "empty")], "Expected tabular/*.npz or uci/*.npz"),
        (
            ["--data-dir", str(made), "--sets", "label"],
            "Expected --sets to match a set; got label. The nearest: labels.",
        ),
        (["--data-dir", str(made), "--splits", "0"], "Expected --splits to be at least 1; got 0."),
    ):
        with pytest.raises(SystemExit, match="2"):
            tabular.main(arguments)
        assert words in capsys.readouterr().err
    with pytest.raises(SystemExit, match="Expected --json of a whole run"):
        tabular.main(["--data-dir", str(made), "--fit-only"])
