"""The benchmark of permuted MNIST on small made-up images."""

import json

import jax
import numpy as np
import pytest
from flax import nnx

from benchmarks.accuracy import continual
from benchmarks.accuracy.data import load_mnist
from benchmarks.accuracy.tests.files import write_mnist

PLAN = continual.Plan(tasks=2, epochs=1, hidden=4, draws=2)


@pytest.mark.slow
@pytest.mark.long
def test_the_command_writes_what_it_prints(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    write_mnist(tmp_path)
    monkeypatch.setattr(continual, "Plan", lambda: PLAN)
    path = tmp_path / "continual.json"
    record = continual.main(["--data-dir", str(tmp_path), "--json", str(path), "--validation"])
    saved = json.loads(path.read_text())
    assert list(saved["methods"]) == list(continual.METHODS)
    for found in saved["methods"].values():
        assert [len(row) for row in found["accuracies"]] == [1, 2]
    text = path.with_suffix(".md").read_text()
    average = np.mean(saved["methods"][continual.UPDATED]["accuracies"][-1])
    assert f"{average:.1f}" in text
    assert "held-out training images" in text
    assert text.strip() in capsys.readouterr().out
    monkeypatch.setattr(continual, "Run", None)  # Nothing is run at all.
    elsewhere = tmp_path / "pictures" / "continual.pdf"
    redrawn = continual.main(["--json", str(path), "--redraw", "--plot", str(elsewhere)])
    assert redrawn["methods"] == record["methods"]
    assert path.with_suffix(".png").stat().st_size > 0
    assert elsewhere.read_bytes().startswith(b"%PDF")


def test_methods_differ_by_the_prior_alone():
    model = continual.dq.BayesianLinear(2, 1, rngs=nnx.Rngs(0))
    assert continual.unchanged(model) is model
    next_model = continual.updated(model)
    assert abs(float(next_model.kl())) < 1e-6 < float(model.kl())
    jax.tree.map(np.testing.assert_array_equal, next_model.kernel_posterior, model.kernel_posterior)


def test_each_task_has_an_order_of_its_own_and_validation_keeps_to_training_images(tmp_path):
    write_mnist(tmp_path)
    data = load_mnist(tmp_path)
    run = continual.Run(data, PLAN, seed=0, is_validated=True)
    first, second = run._orders
    assert not np.array_equal(first, second)
    assert sorted(first) == sorted(second) == list(range(784))
    np.testing.assert_array_equal(np.concatenate([run._train[0], run._test[0]]), data.train_x)
