"""The benchmark on small made-up images: it goes on where it stopped, prunes what it says, writes what it prints."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from flax import nnx

import deepuq_jax as dq
from benchmarks.accuracy import mnist, mnist_recipe, mnist_score
from benchmarks.accuracy.mnist_recipe import Recipe
from benchmarks.accuracy.tests.files import write_mnist
from deepuq_jax import _fit_defaults

TINY = Recipe(hidden=16, epochs=3, batch_size=32, learning_rate=1e-2, kl_weight=0.01)


def test_a_training_goes_on_where_it_was_cut_off(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 9)).astype(np.float32), rng.integers(0, 10, 64).astype(np.int32)
    whole = mnist_recipe.train(TINY, x, y, seed=0)
    monkeypatch.setattr(mnist_recipe, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    save = mnist_recipe._save

    def save_and_stop(path, state, epochs, seconds):
        save(path, state, epochs, seconds)
        if epochs == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(mnist_recipe, "_save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        mnist_recipe.train(TINY, x, y, seed=0, cache=tmp_path)
    monkeypatch.setattr(mnist_recipe, "_save", save)
    resumed = mnist_recipe.train(TINY, x, y, seed=0, cache=tmp_path)
    same = lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    jax.tree.map(same, nnx.state(resumed.model), nnx.state(whole.model))
    monkeypatch.setattr(dq, "train_epoch", None)
    jax.tree.map(same, nnx.state(mnist_recipe.train(TINY, x, y, seed=0, cache=tmp_path).model), nnx.state(whole.model))


def test_the_command_writes_what_it_prints(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    write_mnist(tmp_path)
    heavy = replace(TINY, kl_weight=1e4)
    twins = (Recipe(prior="none", learning_rate=1e-2, batch_size=32),)
    space = (heavy, TINY, replace(TINY, estimator="weight sampling"))
    plan = mnist.Plan(choice_epochs=2, epochs=((16, 6), (24, 3)), draws=10, space=space, twin_space=twins)
    monkeypatch.setattr(mnist, "Plan", lambda: plan)
    monkeypatch.setattr(mnist_score, "PRUNED", (0.0, 0.5))
    monkeypatch.setattr(mnist_score, "ANGLES", (0, 90, 180, 270))
    monkeypatch.setattr(_fit_defaults, "STEPS", 4)
    record = mnist.main(["--data-dir", str(tmp_path), "--json", str(tmp_path / "mnist.json")])
    saved = json.loads((tmp_path / "mnist.json").read_text())
    assert saved["final"] == record["final"]
    assert saved["sizes"] == {"train": 240, "test": 60, "validation": 40}
    # Of each estimator the better one of the validation images, at its final length; and `fit` with nothing set.
    weights = [row.get("recipe", {}).get("kl_weight") for row in saved["final"]]
    assert weights == [1.0, TINY.kl_weight, TINY.kl_weight, None, 1.0, TINY.kl_weight]
    assert [row["recipe"]["epochs"] for row in (*saved["finalists"], *saved["final"][:3])] == [6] * 5
    # The larger network has the recipe of the finalist that was better there.
    better = min(saved["finalists"], key=lambda row: row["nll"])["recipe"]
    assert saved["final"][-1]["recipe"] == {**better, "hidden": 24, "epochs": 3}
    twin, bayesian = saved["final"][:2]
    assert "pruning" not in twin
    assert bayesian["error"] < 30  # 90 by chance
    assert [point["pruned"] for point in bayesian["pruning"]] == [0.0, 0.5]
    text = (tmp_path / "mnist.md").read_text()
    assert f"{bayesian['nll']:.4f}" in text
    assert text.strip() in capsys.readouterr().out
    assert (tmp_path / "mnist.png").stat().st_size > 0


def test_a_prior_is_the_one_that_is_named():
    assert mnist_recipe.make_prior(replace(TINY, prior="scale mixture", prior_sigma=0.5)).sigma1 == 0.5
    with pytest.raises(ValueError, match="gaussian or scale mixture"):
        mnist_recipe.make_prior(replace(TINY, prior="none"))
