"""The demo: its metrics, its data, its training loop against `fit`, and a small run of the whole program."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax.demo import __main__ as program
from deepuq_jax.demo import curve, digits, metrics

SMALL = digits.Settings(hidden_dims=(8,), epochs=2, n_samples=4, validation_draws=2)


@pytest.fixture(scope="module")
def data():
    return digits.load_data(seeds=2)


# ------------------------------------------------------------------------------------------------------------ metrics


def test_measure_by_hand():
    probs = jnp.array([[[0.9, 0.1], [0.2, 0.8]], [[0.6, 0.4], [0.6, 0.4]]])  # Two seeds with two images each.

    def result(entropy):
        return dq.UQResult(mean=probs, probs=probs, predictive_entropy=jnp.asarray(entropy))

    seen, above, mixed = [[0.1, 0.2]] * 2, [[0.5, 0.6]] * 2, [[0.15, 0.6]] * 2
    rows = metrics.measure(digits.Predictions(result(seen), result(above), result(mixed)), np.array([0, 1]))
    assert rows["Accuracy, %"].tolist() == [100, 50]
    expected = [-np.log([0.9, 0.8]).mean(), -np.log([0.6, 0.4]).mean()]
    np.testing.assert_allclose(rows["NLL, nats"], expected, rtol=1e-6)
    np.testing.assert_allclose(rows["ECE (15 bins), %"], [15, 10], rtol=1e-5)
    assert rows["AUROC, digits 8 and 9"].tolist() == [1, 1]
    assert rows["AUROC, pixel noise"].tolist() == [0.75, 0.75]


def test_table_shows_mean_and_spread():
    table = metrics.format_table({"a": {"row": np.array([97.0, 99.0])}, "b": {"row": np.array([0.5, 0.5])}})
    assert "98.00 ± 1.41" in table
    assert "0.5000 ± 0.0000" in table


# --------------------------------------------------------------------------------------------------------------- data


def test_no_held_out_class_is_trained_on(data):
    for _, labels in (data.train, data.validation, data.test):
        assert set(np.unique(labels)) == set(range(8))
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    np.testing.assert_array_equal(data.unseen * 16, images[labels >= 8])


def test_parts_do_not_overlap_and_leave_nothing_out(data):
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)

    def rows(x):
        return {row.tobytes() for row in np.asarray(x, np.float32)}

    everything = rows(images[labels < 8] / 16)
    for train, validation in zip(data.train[0], data.validation[0], strict=True):
        parts = [rows(train), rows(validation), rows(data.test[0])]
        # No image occurs twice in the digits, so the sizes of the parts reveal any overlap.
        assert sum(map(len, parts)) == len(everything) == (labels < 8).sum()
        assert set.union(*parts) == everything
    assert rows(data.train[0][0]) != rows(data.train[0][1])


def test_classes_are_in_proportion_and_pixels_in_range(data):
    for labels in (*data.train[1], *data.validation[1], data.test[1]):
        counts = np.bincount(labels) / len(labels)
        np.testing.assert_allclose(counts, 1 / 8, atol=0.01)
    for x in (data.train[0], data.test[0], data.unseen, data.noise):
        assert x.dtype == np.float32
        assert 0 <= x.min() < 0.01 < 0.99 < x.max() <= 1


# ------------------------------------------------------------------------------------------------------------ training


def first_seed(pair):
    return tuple(part[0] for part in pair)


@pytest.mark.long
def test_train_matches_fit_with_early_stopping(data):
    epochs, patience = 12, 1
    settings = digits.Settings(hidden_dims=(8,), epochs=epochs, patience=patience)
    # At this high rate, the validation NLL soon rises, and later falls again.
    optimizer, key = optax.adam(0.1), jax.random.key(1)
    train, validation = first_seed(data.train), first_seed(data.validation)
    model = digits.build_bayesian(settings, jax.random.key(0))
    ours = digits.train(model, train, validation, key=key, optimizer=optimizer, settings=settings)
    options = dict(epochs=epochs, patience=patience, batch_size=settings.batch_size)
    options.update(objective=dq.ELBO(kl_weight=settings.kl_weight, mc_samples=settings.mc_samples))
    fitted = dq.fit(model, *train, key=key, optimizer=optimizer, validation_data=validation, **options)
    assert len(fitted.history["val_nll"]) < epochs
    leaves = zip(jax.tree.leaves(ours), jax.tree.leaves(fitted.model), strict=True)
    for mine, theirs in leaves:
        np.testing.assert_allclose(mine, theirs, atol=2e-4)


def test_both_networks_start_from_the_same_weights():
    bayesian, twin = (build(SMALL, jax.random.key(3)) for build in (digits.build_bayesian, digits.build_twin))
    x = jnp.ones((2, 64))
    np.testing.assert_allclose(bayesian(x), twin(x), rtol=1e-6)


@pytest.mark.slow
def test_the_twin_is_trained_on_cross_entropy_alone(data):
    twin = digits.build_twin(SMALL, jax.random.key(0))
    x, y = data.test[0][:32], data.test[1][:32]
    sgd = optax.sgd(0.1)
    state = dq.TrainState.create(twin, sgd)
    step = jax.jit(
        lambda state: dq.train_step(state, x, y, key=jax.random.key(1), objective=dq.ELBO(32), optimizer=sgd)
    )
    stepped, _ = step(state)
    graphdef, params = nnx.split(twin.net)

    def loss(params):
        return optax.softmax_cross_entropy_with_integer_labels(nnx.merge(graphdef, params)(x), y).mean()

    @jax.jit
    def by_hand(params):
        return optax.apply_updates(params, jax.tree.map(lambda g: -0.1 * g, jax.grad(loss)(params)))

    expected = by_hand(params)
    leaves = zip(jax.tree.leaves(expected), jax.tree.leaves(stepped.model), strict=True)
    for want, got in leaves:
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-7)


# -------------------------------------------------------------------------------------------------------------- whole


def test_curve_by_hand():
    assert curve.curve_truth(0.25) == pytest.approx(0.25 + 0.3)
    assert curve.curve_truth(0.25, 0.25) == pytest.approx(0.25 + 0.0 + 0.0 + 0.25)


@pytest.mark.slow
def test_the_band_opens_away_from_the_data():
    fitted = curve.fit_curve(key=jax.random.key(0), size=256, epochs=150)
    std = np.sqrt(np.asarray(fitted.result.epistemic_var))[:, 0]
    inside = (fitted.x > 0.05) & (fitted.x < 0.45)
    # With four seeds, the band at either end was 2.5 to 4.1 times as wide as at its widest place among the data.
    assert 2 * std[inside].max() < min(std[0], std[-1])
    assert np.all(np.diff(std[fitted.x > 0.6]) > 0)


@pytest.mark.slow
def test_a_small_run_writes_the_pictures_and_the_whole_table(tmp_path, monkeypatch, capsys):
    run_demo = program.run_demo

    def small(out, *, seeds):
        return run_demo(out, seeds=seeds, settings=SMALL, curve_epochs=2)

    monkeypatch.setattr(program, "run_demo", small)
    program.main(["--out", str(tmp_path / "new"), "--seeds", "2"])
    for name in ("curve.png", "digits.png"):
        assert (tmp_path / "new" / name).read_bytes().startswith(b"\x89PNG")
    rows = [line for line in capsys.readouterr().out.splitlines() if line.count("±") == 2]
    names = ["Accuracy, %", "NLL, nats", "ECE (15 bins), %", "AUROC, digits 8 and 9", "AUROC, pixel noise"]
    assert [row[:24].strip() for row in rows] == names
    cells = np.array([row[24:].replace("±", " ").split() for row in rows], float)
    assert cells.shape == (5, 4)
    assert np.isfinite(cells).all()
    assert (cells[1, 1::2] > 0).all()  # Each seed is a network of its own.
