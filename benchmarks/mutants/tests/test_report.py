"""The report makes no claim while a survivor has no reason, or the sample is not complete."""

import json

import pytest

from benchmarks.mutants import command
from benchmarks.mutants.report import markdown, unexplained, wilson
from benchmarks.mutants.results import Result, append, read, read_first
from benchmarks.mutants.sample import draw
from benchmarks.mutants.survivors import explanations
from benchmarks.mutants.tests.project import SUBJECTS, write
from benchmarks.mutants.workshop import Outcome

CLAIM = "So at least 90% of the sample are found"


@pytest.fixture
def sample(tmp_path):
    return draw(write(tmp_path), SUBJECTS, 12, 1)


def results(sample, survivors):
    done = {}
    for number, mutant in enumerate(sample.mutants):
        verdict = "survived" if number < survivors else "killed"
        done[mutant.name] = Result.of(mutant, Outcome(verdict, "", 1.0))
    return done


def report(sample, done, reasons):
    return markdown(sample, done, done, reasons)


def test_wilson_interval_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    for killed, tried in [(0, 3), (5, 9), (90, 100), (7, 7)]:
        expected = stats.binomtest(killed, tried).proportion_ci(method="wilson")
        assert wilson(killed, tried) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_survivor_without_a_reason_is_named_and_nothing_claimed(sample):
    done = results(sample, survivors=1)
    name = sample.mutants[0].name
    assert unexplained(sample, done, {}) == [name]
    text = report(sample, done, {})
    assert CLAIM not in text
    assert "not explained yet" in text
    assert f"-{sample.mutants[0].before}\n+{sample.mutants[0].after}" in text


def test_the_claim_needs_the_whole_sample_the_share_and_the_reasons(sample):
    reasons = {mutant.name: "It is equivalent." for mutant in sample.mutants}
    assert CLAIM in report(sample, results(sample, survivors=1), reasons)
    assert CLAIM not in report(sample, results(sample, survivors=2), reasons)
    part = dict(list(results(sample, survivors=1).items())[:-1])
    assert CLAIM not in report(sample, part, reasons)
    assert "11 of 12 mutants drawn have been tried" in report(sample, part, reasons)


def test_the_share_before_tests_were_added_is_told_too(sample, tmp_path):
    path = tmp_path / "results.jsonl"
    for survivors in (6, 3, 0):
        for result in results(sample, survivors).values():
            append(path, result)
    assert sum(result.verdict == "survived" for result in read_first(path).values()) == 6
    text = markdown(sample, read_first(path), read(path), {})
    assert "12 of 12 mutants drawn have been tried: 100.0% found" in text
    assert "before tests were added for survivors: 50.0% found" in text


def test_results_of_lines_that_have_changed_do_not_count(sample):
    gone = Result.of(sample.mutants[0], Outcome("killed", "", 1.0))
    assert "| all | 12 | 12 | 0 |" in report(sample, {"another": gone}, {})


def test_the_command_refuses_an_unexplained_survivor_after_it_wrote_the_report(sample, tmp_path, monkeypatch):
    path = tmp_path / "results.jsonl"
    for result in results(sample, survivors=1).values():
        append(path, result)
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "SUBJECTS", SUBJECTS)
    with pytest.raises(SystemExit, match="Expected a reason"):
        command.main(["--redraw", "--size", "12", "--seed", "1", "--results", str(path)])
    assert sample.mutants[0].name in path.with_suffix(".md").read_text(encoding="utf-8")


def test_every_committed_reason_belongs_to_a_committed_survivor():
    lines = (command.RESULTS / "mutants.jsonl").read_text(encoding="utf-8").splitlines()
    last = {result["name"]: result["verdict"] for result in map(json.loads, lines)}
    assert {last.get(name) for name in explanations()} <= {"survived"}


def test_an_entry_without_a_reason_is_refused(tmp_path):
    path = tmp_path / "survivors.toml"
    path.write_text('[[survivor]]\nname = "abc"\n', encoding="utf-8")
    with pytest.raises(ValueError, match="Expected a name and a reason"):
        explanations(path)
