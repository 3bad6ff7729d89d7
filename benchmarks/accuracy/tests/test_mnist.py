"""The benchmark on small made-up images: it resumes, prunes, and writes what it prints."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from flax import nnx

import deepuq_jax as dq
from benchmarks.accuracy import mnist, mnist_recipe, mnist_score
from benchmarks.accuracy.data import load_mnist
from benchmarks.accuracy.mnist_recipe import Recipe
from benchmarks.accuracy.tests.files import write_mnist
from deepuq_jax.training import _defaults

# Together, these tests take too long for `make check`.
pytestmark = pytest.mark.slow

# 240 and 200 images are whole numbers of batches; a smaller last batch would be a second step to compile.
TINY = Recipe(hidden=16, epochs=3, batch_size=40, learning_rate=1e-2, kl_weight=0.01)


@pytest.mark.long
def test_an_interrupted_training_resumes(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(80, 9)).astype(np.float32), rng.integers(0, 10, 80).astype(np.int32)
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

    def same(a, b):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))

    jax.tree.map(same, nnx.state(resumed.model), nnx.state(whole.model))
    monkeypatch.setattr(dq, "train_epoch", None)
    jax.tree.map(same, nnx.state(mnist_recipe.train(TINY, x, y, seed=0, cache=tmp_path).model), nnx.state(whole.model))


@pytest.mark.long
def test_the_command_writes_what_it_prints(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    write_mnist(tmp_path)
    heavy = replace(TINY, kl_weight=1e4)
    twins = (Recipe(prior="none", learning_rate=1e-2, batch_size=40),)
    plan = mnist.Plan(choice_epochs=2, epochs=((16, 6),), draws=10, space=(heavy, TINY), twin_space=twins)
    monkeypatch.setattr(mnist, "Plan", lambda: plan)
    monkeypatch.setattr(mnist_score, "PRUNED", (0.0, 0.5))
    monkeypatch.setattr(mnist_score, "ANGLES", (0, 90, 180, 270))
    monkeypatch.setattr(_defaults, "STEPS", 4)
    record = mnist.main(["--data-dir", str(tmp_path), "--json", str(tmp_path / "mnist.json")])
    saved = json.loads((tmp_path / "mnist.json").read_text())
    assert saved["final"] == record["final"]
    assert saved["sizes"] == {"train": 240, "test": 60, "validation": 40}
    # The twin, the recipe with the better validation score at its final length, and the rows of `fit`.
    assert [row["recipe"]["kl_weight"] for row in saved["final"][:2]] == [1.0, TINY.kl_weight]
    assert [row["name"] for row in saved["final"][2:]] == list(mnist.FITS)
    assert [row.get("epochs") for row in saved["final"][2:]] == [fit.epochs for fit in mnist.FITS.values()]
    assert [row["recipe"]["epochs"] for row in saved["final"][:2]] == [6, 6]
    twin, bayesian = saved["final"][:2]
    assert "pruning" not in twin
    assert bayesian["error"] < 30  # 90 by chance
    assert [point["pruned"] for point in bayesian["pruning"]] == [0.0, 0.5]
    text = (tmp_path / "mnist.md").read_text()
    assert f"{bayesian['nll']:.4f}" in text
    assert text.strip() in capsys.readouterr().out
    assert (tmp_path / "mnist.png").stat().st_size > 0
    monkeypatch.setattr(_defaults, "STEPS", 8)
    monkeypatch.setattr(mnist, "train", None)  # No recipe is trained again.
    again = mnist.main(["--data-dir", str(tmp_path), "--json", str(tmp_path / "mnist.json"), "--fit-only"])
    assert again["final"][:2] == saved["final"][:2]
    assert again["final"][2]["nll"] != saved["final"][2]["nll"]
    assert [row["hidden"] for row in again["final"][2:]] == [16] * len(mnist.FITS)
    monkeypatch.setattr(mnist, "Run", None)  # Nothing is run at all.
    kept = (tmp_path / "mnist.json").read_bytes(), (tmp_path / "mnist.md").read_bytes()
    (tmp_path / "mnist.png").unlink()
    assert mnist.main(["--json", str(tmp_path / "mnist.json"), "--redraw"])["final"][2]["hidden"] == 16
    assert ((tmp_path / "mnist.json").read_bytes(), (tmp_path / "mnist.md").read_bytes()) == kept
    assert (tmp_path / "mnist.png").exists()


def test_recipes_are_chosen_by_validation_and_the_finalists_after_all_epochs(tmp_path, monkeypatch):
    write_mnist(tmp_path)
    # NLL after 2 epochs and after 6, by estimator and KL weight.
    local, sampled = mnist_recipe.ESTIMATORS
    nll = {(local, 0.1): (0.2, 0.2), (local, 1.0): (0.3, 0.0), (sampled, 0.1): (0.5, 0.1), (sampled, 1.0): (0.6, 0.0)}
    asked = []

    def train(recipe, x, y, **_):
        asked.append((recipe, len(y)))
        return mnist_recipe.Trained(recipe, 0.0)

    def scores(recipe, y):
        of_length = nll.get((recipe.estimator, recipe.kl_weight), (0.0, 0.0)) if recipe.is_bayesian else (0.0, 0.0)
        return {"error": 0.0, "nll": of_length[recipe.epochs > 2], "ece": 0.0}

    for name, stub in {
        "train": train,
        "predict": lambda recipe, x, **_: recipe,
        "scores": scores,
        "elsewhere": lambda *_, **__: {},
        "pruning_curve": lambda *_, **__: [],
    }.items():
        monkeypatch.setattr(mnist, name, stub)
    space = tuple(Recipe(estimator=estimator, kl_weight=weight) for estimator, weight in nll)
    twins = (Recipe(prior="none"),)
    plan = mnist.Plan(choice_epochs=2, epochs=((16, 6), (24, 3)), space=space, twin_space=twins)
    record = mnist.measure(mnist.Run(load_mnist(tmp_path), plan, seed=0, cache=None), with_defaults=False)
    best = Recipe(estimator=local, kl_weight=0.1), Recipe(estimator=sampled, kl_weight=0.1)
    assert [Recipe(**row["recipe"]) for row in record["finalists"]] == [r.at(hidden=16, epochs=6) for r in best]
    final = [twins[0].at(hidden=16, epochs=6), *(r.at(hidden=16, epochs=6) for r in best)]
    # After all epochs, the second finalist is better, so the larger network trains by it.
    final += [twins[0].at(hidden=24, epochs=3), best[1].at(hidden=24, epochs=3)]
    assert [Recipe(**row["recipe"]) for row in record["final"]] == final
    # The comparisons train without the validation images.
    assert {size for recipe, size in asked[: len(space) + 2]} == {200}
    assert [size for recipe, size in asked[len(space) + 2 :]] == [240] * 5


def test_the_named_prior_is_made():
    assert mnist_recipe.make_prior(replace(TINY, prior="scale mixture", prior_sigma=0.5)).sigma1 == 0.5
    with pytest.raises(ValueError, match="gaussian or scale mixture"):
        mnist_recipe.make_prior(replace(TINY, prior="none"))
