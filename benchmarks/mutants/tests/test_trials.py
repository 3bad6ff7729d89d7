"""A fault that a test notices is killed; others survive, and an interrupted run continues."""

import json
from dataclasses import replace

import pytest

from benchmarks.mutants import results
from benchmarks.mutants.sample import draw
from benchmarks.mutants.tests.project import AREA, FILES, SLOW, SLOW_BUT_GOOD, SUBJECTS, mutant, write
from benchmarks.mutants.trials import QUICK, Trials, run
from benchmarks.mutants.workshop import Outcome, Workshop


@pytest.fixture
def root(tmp_path):
    (tmp_path / "checkout").mkdir()
    return write(tmp_path / "checkout", FILES | {"test_slow.py": SLOW})


@pytest.fixture
def workshop(root, tmp_path):
    return Workshop(root, tmp_path / "folder")


@pytest.mark.slow
def test_a_broken_function_is_killed_and_an_untested_one_survives(root, workshop):
    trials = Trials(workshop, {subject.name: subject for subject in SUBJECTS})
    broken = trials.outcome(mutant(root, "if a is None:", "if not a is None:"))
    assert broken.verdict == "killed"
    assert broken.by == "test_shapes.py::test_area"
    untested = trials.outcome(mutant(root, "return a - 5", "return a - 4"))
    assert untested.verdict == "survived"
    assert (root / "shapes" / "area.py").read_text(encoding="utf-8") == AREA
    assert (workshop.root / "shapes" / "area.py").read_text(encoding="utf-8") == AREA


@pytest.mark.slow
def test_slow_tests_in_the_quick_files_find_mutants_too(root, tmp_path):
    (root / "test_unused.py").write_text(SLOW_BUT_GOOD, encoding="utf-8")
    subject = replace(SUBJECTS[0], quick=("test_shapes.py", "test_unused.py"))
    outcome = Trials(Workshop(root, tmp_path / "other"), {"shapes": subject}).outcome(
        mutant(root, "return a - 5", "return a - 4")
    )
    assert (outcome.verdict, outcome.by) == ("killed", "test_unused.py::test_unused")


@pytest.mark.slow
def test_tests_that_do_not_end_are_stopped(workshop):
    assert workshop.test(["test_slow.py"], QUICK, 2.0).verdict == "timeout"


@pytest.mark.slow
def test_tests_that_fail_without_a_mutant_are_refused(root, tmp_path):
    (root / "test_shapes.py").write_text("def test_fails():\n    assert False\n", encoding="utf-8")
    trials = Trials(Workshop(root, tmp_path / "other"), {"shapes": SUBJECTS[0]})
    with pytest.raises(RuntimeError, match=r"^Expected the tests in test_shapes.py to pass without a mutant"):
        trials.outcome(draw(root, SUBJECTS[:1], 1, 1).mutants[0])


class Counted:
    """Stands in for trials, and counts them."""

    def __init__(self):
        self.tried = []

    def outcome(self, mutant):
        self.tried.append(mutant.name)
        return Outcome("killed", "test_shapes.py::test_area", 0.123)


def test_an_interrupted_run_continues_where_it_stopped(root, tmp_path):
    path, mutants, trials = tmp_path / "results.jsonl", draw(root, SUBJECTS, 12, 1).mutants, Counted()
    run(trials, mutants, path, stop=lambda: len(trials.tried) == 5, show=lambda line: None)
    # The run was killed while it wrote the sixth line.
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"name": mutants[5].name})[:10])
    done = results.read(path)
    assert list(done) == [mutant.name for mutant in mutants[:5]]
    rest = [mutant for mutant in mutants if mutant.name not in done]
    run(trials, rest, path, stop=lambda: False, show=lambda line: None)
    assert trials.tried == [mutant.name for mutant in mutants]
    assert list(results.read(path)) == trials.tried
