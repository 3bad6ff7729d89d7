"""The benchmark of LeNet-5 on small made-up images: it chooses a prior, and writes what it prints."""

import json

import pytest

from benchmarks.accuracy import fashion
from benchmarks.accuracy.tests.files import write_mnist

# Six programs with convolutions take 10 s to compile.
pytestmark = pytest.mark.long


def test_the_command_writes_what_it_prints(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    write_mnist(tmp_path, name="fashion-mnist")
    monkeypatch.setattr(fashion, "Plan", lambda: fashion.QUICK)
    nll = iter([0.5, 0.4])
    monkeypatch.setattr(
        fashion.Run, "choose", lambda run: [dict(SCORES, prior_sigma=s, nll=next(nll)) for s in (1.0, 0.3)]
    )
    path = tmp_path / "fashion.json"
    record = fashion.main(["--data-dir", str(tmp_path), "--json", str(path)])
    saved = json.loads(path.read_text())
    assert saved["final"] == record["final"]
    assert list(saved["final"]) == list(fashion.METHODS)
    assert saved["final"][fashion.NATURAL]["prior_sigma"] == 0.3
    text = path.with_suffix(".md").read_text()
    assert f"{saved['final'][fashion.ENSEMBLE]['nll']:.4f}" in text
    assert text.strip() in capsys.readouterr().out
    monkeypatch.setattr(fashion, "Run", None)  # Nothing is run at all.
    assert fashion.main(["--json", str(path), "--redraw"])["final"] == saved["final"]
    assert path.with_suffix(".png").stat().st_size > 0


SCORES = {"accuracy": 50.0, "nll": 1.0, "ece": 1.0}
