"""The benchmark on small made-up files: it learns, chooses without the test rows, and writes what it prints."""

import json
from dataclasses import asdict, replace
from functools import partial
from importlib.util import find_spec

import jax
import numpy as np
import pytest

from benchmarks.accuracy import plot, summary, uci, uci_recipe
from benchmarks.accuracy.data import load_regression
from benchmarks.accuracy.tests.files import write_regression
from benchmarks.accuracy.uci_recipe import Bayesian, Plan, Point
from benchmarks.accuracy.uci_score import score
from benchmarks.accuracy.uci_splits import test_splits as whole_splits
from deepuq_jax.training import _defaults

# Together, these tests take too long for `make check`.
pytestmark = pytest.mark.slow

# Each batch has all rows, since a smaller last batch would be a second step to compile.
SMALL = Plan(steps=300, batch_size=64, draws=20, members=2)
GOOD, BAD = Bayesian("homoscedastic", 0.3, 0.5), Bayesian("homoscedastic", 300.0, 0.5)


@pytest.fixture
def made(tmp_path):
    write_regression(tmp_path)
    return tmp_path


@pytest.mark.long
def test_a_split_trains_among_others_as_it_does_alone(made):
    splits = whole_splits(load_regression("made", made))
    together = uci_recipe.run([GOOD] * 3, splits, seed=0, plan=SMALL)
    train_key, predict_key = jax.random.split(jax.random.split(jax.random.key(0), 3)[1])
    numbers = {name: value for name, value in asdict(GOOD).items() if name != "noise"}

    @jax.jit
    def alone(x, y, held_x):
        train = partial(uci_recipe.train, numbers, kind=Bayesian, noise=GOOD.noise, plan=SMALL)
        return uci_recipe.predict(train(x, y, train_key), held_x, predict_key, SMALL.draws)

    mean, var = alone(splits.x[1], splits.y[1], splits.held_x[1])
    found = uci_recipe.in_own_units(mean, var, splits, 1)
    # The two programs sum in different orders, over 300 steps in float32.
    np.testing.assert_allclose(together[1].mean, found.mean, rtol=1e-3)
    np.testing.assert_allclose(together[1].var, found.var, rtol=2e-2)
    # The made-up targets have mean 300 and standard deviation 20, and that of their noise is 2.
    assert score(found, splits.held_y[1]).rmse < 6


def test_plan_fits_any_size():
    plan = Plan()
    for rows in (270, 1_439, 45_000):
        assert plan.batch(rows) <= rows
        assert 0.8 < plan.epochs(rows) * plan.steps_per_epoch(rows) / plan.steps < 1.2
    assert plan.batch(270) == 32
    assert plan.batch(45_000) == 256


@pytest.mark.long
def test_the_command_chooses_by_validation_and_writes_what_it_prints(made, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(uci, "BAYESIAN_SPACE", (BAD, GOOD))
    monkeypatch.setattr(uci, "POINT_SPACE", (Point("heteroscedastic", 0.1),))
    monkeypatch.setattr(uci, "Plan", partial(replace, SMALL))
    monkeypatch.setattr(_defaults, "STEPS", 50)
    arguments = ["--data-dir", str(made), "--json", str(tmp_path / "uci.json"), "--cache", str(tmp_path / "cache")]
    has_torch = find_spec("torch") is not None
    arguments += ["--quick"] if has_torch else ["--quick", "--no-torch"]
    record = uci.main(arguments)
    saved = json.loads((tmp_path / "uci.json").read_text())
    # Compare texts, since JSON turns tuples into lists.
    assert json.dumps(saved["sets"]) == json.dumps(record["sets"])
    found = saved["sets"]["made"]
    assert (found["rows"], found["trained_on"], found["chosen_on"]) == (60, 54, 11)
    assert [row["chosen_by_splits"] for row in found["choices"]["deepuq_jax"]["space"]] == [0, 3]
    methods = found["methods"]
    assert set(methods) == set(uci.METHODS) - (set() if has_torch else {"deepuq_torch"})
    assert ("deepuq_torch" in methods) == has_torch
    if has_torch:  # With other random numbers, the recipe differs by less than the noise of the targets, which is 2.
        assert abs(methods["deepuq_torch"]["rmse"] - methods["deepuq_jax"]["rmse"]) < 2
    assert all(row["splits"] == 3 and np.isfinite(row["log_likelihood"]) for row in methods.values())
    text = (tmp_path / "uci.md").read_text()
    assert f"{methods['ensemble']['rmse']:.2f} ± {methods['ensemble']['rmse_se']:.2f}" in text
    assert text.strip() in capsys.readouterr().out
    assert (tmp_path / "uci.png").stat().st_size > 0
    monkeypatch.setattr(uci, "run", None)  # Finished parts are kept, and nothing is run again.
    assert json.dumps(uci.main(arguments)["sets"]) == json.dumps(record["sets"])
    # After a change of the defaults of `fit`, only its columns are run and change.
    monkeypatch.setattr(_defaults, "STEPS", 60)
    again = uci.main([*arguments, "--fit-only"])["sets"]["made"]
    changed = {name for name, row in again["methods"].items() if row["per_split"] != methods[name]["per_split"]}
    assert changed == set(uci.FITS)
    assert again["choices"] == found["choices"]
    with pytest.raises(SystemExit, match="Expected a record of seed 1"):
        uci.main([*arguments, "--fit-only", "--seed", "1"])
    for option in ([], ["--fit-only"]):
        capsys.readouterr()
        with pytest.raises(SystemExit, match="2"):
            uci.main([*arguments, *option, "--sets", "made,mode"])
        assert "Expected --sets to match a set; got mode. The nearest: made." in capsys.readouterr().err
    with pytest.raises(SystemExit, match="Expected --json of a whole run"):
        uci.main(["--data-dir", str(made), "--fit-only"])
    with pytest.raises(SystemExit, match="Expected --json to be a file that exists"):
        uci.main(["--redraw"])


def test_the_picture_names_every_method_and_both_lines():
    pytest.importorskip("matplotlib")
    record = json.loads(summary.UCI.read_text(encoding="utf-8"))
    figure = plot.regression(record, uci.METHODS)
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == [*uci.METHODS, "published mean-field VI", "coverage equal to the level"]
    *panels, coverage = figure.axes
    assert [ax.get_title("left").split(":")[0] for ax in panels] == list(record["sets"])
    # A point for each method, set and level, and a line.
    assert (
        sum(len(line.get_xdata()) for line in coverage.get_lines()[:-1]) == len(uci.METHODS) * len(record["sets"]) * 3
    )
