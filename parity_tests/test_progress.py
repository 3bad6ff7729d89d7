"""Progress is shown on stderr, with tqdm and without it."""

from __future__ import annotations

import sys

import pytest

from parity_tests import progress


def test_a_line_per_group_without_a_terminal(capsys):
    assert list(progress.tracked("closed forms", [1, 2, 3])) == [1, 2, 3]
    assert capsys.readouterr().err == "closed forms: 3 runs ... 0 s\n"


def test_the_line_is_there_before_the_first_step(capsys):
    steps = progress.tracked("training", [1, 2])
    next(steps)
    assert capsys.readouterr().err == "training: 2 runs ... "


@pytest.mark.parametrize("installed", [True, False])
def test_a_bar_on_a_terminal_if_tqdm_is_installed(capsys, monkeypatch, installed):
    if installed:
        pytest.importorskip("tqdm")
    else:
        monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(progress.tracked("prediction", [1, 2])) == [1, 2]
    assert ("2/2" if installed else "prediction: 2 runs") in capsys.readouterr().err
