"""The sample is seeded and stratified, and mutants are single small faults."""

from collections import Counter

import pytest

from benchmarks.mutants.positions import kind, positions
from benchmarks.mutants.sample import draw
from benchmarks.mutants.tests.project import AREA, FILES, SUBJECTS, write


@pytest.fixture
def root(tmp_path):
    return write(tmp_path)


def names(sample):
    return [mutant.name for mutant in sample.mutants]


def test_the_same_seed_draws_the_same_mutants(root):
    assert names(draw(root, SUBJECTS, 6, 1)) == names(draw(root, SUBJECTS, 6, 1))
    assert set(names(draw(root, SUBJECTS, 6, 1))) != set(names(draw(root, SUBJECTS, 6, 2)))


def test_subjects_get_shares_in_proportion_to_their_places(root):
    sample = draw(root, SUBJECTS, 6, 1)
    assert sample.population == {"shapes": 8, "counts": 4}
    assert Counter(mutant.subject for mutant in sample.mutants) == {"shapes": 4, "counts": 2}
    # A run that is interrupted halfway has tried half of each.
    assert Counter(mutant.subject for mutant in sample.mutants[:3]) == {"shapes": 2, "counts": 1}


def test_a_larger_sample_holds_the_smaller(root):
    assert set(names(draw(root, SUBJECTS, 6, 1))) <= set(names(draw(root, SUBJECTS, 9, 1)))


def test_an_edit_leaves_the_mutants_of_other_lines(root):
    before = draw(root, SUBJECTS, 12, 1)
    edited = AREA.replace("a - 5", "a - 6").replace('"""Areas."""', '"""Areas.\n\nMore of them.\n"""')
    (root / "shapes" / "area.py").write_text(edited, encoding="utf-8")
    after = draw(root, SUBJECTS, 12, 1)
    kept = {mutant.name for mutant in before.mutants if "a - 5" not in mutant.before}
    assert kept <= set(names(after))
    assert len(kept) == 10


def test_each_mutant_is_one_fault_in_a_program_that_compiles(root):
    for mutant in draw(root, SUBJECTS, 12, 1).mutants:
        original = FILES[mutant.file].splitlines()
        assert original[mutant.line - 1].strip() == mutant.before
        changed = [line for line in mutant.source.splitlines() if line not in original]
        assert [line.strip() for line in changed] == [mutant.after]
        compile(mutant.source, mutant.file, "exec")


def test_annotations_signatures_and_docstrings_stay():
    lines = Counter(place.line for place in positions(AREA))
    # The default of `factor` may change, but neither `|` nor `*`; the condition twice; a number; two products.
    assert lines == {5: 1, 7: 2, 8: 1, 9: 2, 13: 2}


def test_changes_that_every_test_would_find_are_left_out():
    assert kind("core/ReplaceBinaryOperator_Mul_LShift") is None
    assert kind("core/ReplaceComparisonOperator_Eq_Is") is None
    assert kind("core/ReplaceBinaryOperator_LShift_RShift") == "arithmetic"


@pytest.mark.parametrize("size", [0, 13])
def test_a_sample_is_no_larger_than_the_places(root, size):
    with pytest.raises(ValueError, match=r"^Expected size from 1 to 12"):
        draw(root, SUBJECTS, size, 1)
