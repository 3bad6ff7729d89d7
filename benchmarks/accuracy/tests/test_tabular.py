"""The benchmark on small made-up sets: it runs every method, and writes what it prints."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.accuracy.tests.files import write_classification, write_regression
from deepuq_jax.training import _epochs

tabular = pytest.importorskip("benchmarks.accuracy.tabular")
from benchmarks.accuracy import tabular_methods, tabular_peers  # noqa: E402

pytestmark = pytest.mark.slow

SMALL = replace(tabular_methods.QUICK, epochs=3, draws=5)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Two sets, of which --quick takes the smaller."""
    monkeypatch.setattr(tabular, "QUICK", SMALL)
    write_classification(tmp_path)
    write_classification(tmp_path, "larger", rows=80)
    return tmp_path


def arguments_for(folder):
    return ["--quick", "--data-dir", str(folder), "--json", str(folder / "t.json"), "--cache", str(folder / "cache")]


def test_the_command_writes_what_it_prints(made, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    arguments = arguments_for(made)
    record = tabular.main(arguments)
    saved = json.loads((made / "t.json").read_text())
    assert saved["classification"] == json.loads(json.dumps(record["classification"]))
    assert list(saved["classification"]) == ["labels"]
    found = saved["classification"]["labels"]
    assert (found["trained_on"], found["splits"], found["left_out"]) == (48, 2, {})
    methods = found["methods"]
    assert set(methods) == set(tabular_methods_of("classification"))
    assert all(len(row["per_split"]) == 2 and np.isfinite(row["nll"]) for row in methods.values())
    assert methods[tabular_methods.FIT]["notes"][0] == {"draws": 5, "default_draws": 50}
    assert {note["gain"] for note in methods[tabular_methods.TUNED]["notes"]} <= set(SMALL.gains)
    text = (made / "t.md").read_text()
    assert f"{methods[tabular_methods.FIT]['nll']:.3f} ± {methods[tabular_methods.FIT]['nll_se']:.3f}" in text
    assert text.strip() in capsys.readouterr().out
    assert (made / "t.png").stat().st_size > 0
    # A second split and a repetition find the programs of the first.
    programs = _epochs._run_in_a_loop._cache_size()
    again = tabular.main([*arguments, "--fit-only"])["classification"]["labels"]["methods"]
    assert _epochs._run_in_a_loop._cache_size() == programs
    assert again[tabular_methods.FIT]["per_split"] == methods[tabular_methods.FIT]["per_split"]
    monkeypatch.setattr(tabular, "_scored", None)  # Finished parts are kept, and nothing is run again.
    assert json.dumps(tabular.main(arguments)["classification"]) == json.dumps(record["classification"])
    assert tabular.main([*arguments, "--redraw"])["classification"] == saved["classification"]


def test_a_split_finds_the_programs_of_the_split_before(made):
    (first, second) = tabular.labelled_splits(tabular.load_classification("labels", made), 2)
    for method in (tabular_methods.fit_classifier, tabular_methods.tuned_classifier):
        method(first, 0, SMALL)
        programs = _epochs._run_in_a_loop._cache_size()
        method(second, 1, SMALL)
        assert _epochs._run_in_a_loop._cache_size() == programs


@pytest.mark.long
def test_the_command_runs_regression(made):
    pytest.importorskip("matplotlib")
    write_regression(made)
    record = tabular.main([*arguments_for(made), "--sets", "made", "--splits", "1"])
    assert record["classification"] == {}
    methods = record["regression"]["made"]["methods"]
    assert set(methods) == set(tabular_methods_of("regression"))
    assert all(row["nll_se"] is None and len(row["coverage"]) == 3 for row in methods.values())
    assert set(methods[tabular_methods.TUNED]["notes"][0]) == {"noise", "gain"}
    text = (made / "t.md").read_text()
    assert "Coverage of the central 50 / 90 / 95 % intervals" in text


def tabular_methods_of(kind):
    from benchmarks.accuracy.tabular_compare import TASKS

    return TASKS[kind].order


def test_a_set_with_too_many_rows_is_not_given_to_a_gaussian_process(made):
    kind = tabular.KINDS["classification"]
    runners = [runner._replace(most_rows=50) for runner in kind.runners if runner.name == tabular_peers.LOGISTIC]
    kind = kind._replace(runners=tuple(runners))
    options = dict(splits=1, seed=0, plan=SMALL)
    for name, left_out in (("labels", {}), ("larger", {tabular_peers.LOGISTIC: "it is run up to 50 training rows"})):
        found = tabular.measure(kind, kind.load(name, made), tabular.report.Parts(None), **options)
        assert found["left_out"] == left_out
        assert bool(found["methods"]) != bool(left_out)


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
