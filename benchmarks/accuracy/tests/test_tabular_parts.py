"""Splits, scores, comparisons and methods of scikit-learn on tabular sets."""

import json

import numpy as np
import pytest

from benchmarks.accuracy import tabular_compare, tabular_data, tabular_score
from benchmarks.accuracy import tabular_peers as peers
from benchmarks.accuracy.data import ClassificationSet, RegressionSet, load_classification, load_regression
from benchmarks.accuracy.tabular_methods import FIT, FIT_DEFAULT_DRAWS, Plan
from benchmarks.accuracy.tabular_report import as_markdown
from benchmarks.accuracy.tests.files import write_classification, write_regression
from benchmarks.accuracy.uci_score import Draws

SMALL = Plan(members=2)


def test_a_split_is_scaled_by_its_training_rows_alone(tmp_path):
    write_classification(tmp_path)
    write_regression(tmp_path)
    labels, reals = load_classification("labels", tmp_path), load_regression("made", tmp_path)
    for data, splits in (
        (labels, tabular_data.labelled_splits(labels, 1)),
        (reals, tabular_data.real_splits(reals, 1)),
    ):
        (split,) = splits
        train = data.train_index()[0]
        np.testing.assert_allclose(split.x.mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(split.x.std(axis=0), 1, rtol=1e-12)
        mean, std = data.x[train].mean(axis=0), data.x[train].std(axis=0)
        np.testing.assert_allclose(split.test_x * std + mean, data.x[data.test_index[0]], rtol=1e-12)
        np.testing.assert_array_equal(split.test_y, data.y[data.test_index[0]])
    assert labels.classes == 3
    np.testing.assert_allclose(split.in_own_units(Draws(split.y, split.y)).mean, reals.y[reals.train_index()[0]])
    np.testing.assert_allclose(split.in_own_units(Draws(split.y, np.ones(1))).var, split.y_std**2)


def test_validation_rows_are_training_rows_and_held_out(tmp_path):
    # The target of each row is its number, so that the rows of a part can be identified.
    rows = np.arange(20)
    data = RegressionSet("rows", rows[:, None] * 1.0, rows * 1.0, np.array([[0, 1, 2, 3, 4]]))
    (split,) = tabular_data.real_splits(data, 1)
    inner = tabular_data.real_validation(split, seed=0)
    held = inner.test_y * split.y_std + split.y_mean
    fitted = (inner.y * inner.y_std + inner.y_mean) * split.y_std + split.y_mean
    assert sorted(np.round([*held, *fitted]).astype(int)) == list(range(5, 20))
    assert len(held) == 3
    labels = ClassificationSet("rows", data.x, rows, data.test_index)
    (split,) = tabular_data.labelled_splits(labels, 1)
    inner = tabular_data.labelled_validation(split, seed=0)
    assert sorted([*inner.y, *inner.test_y]) == list(range(5, 20))
    assert tabular_data.checksum(data) != tabular_data.checksum(
        RegressionSet("rows", data.x, data.y[::-1], data.test_index)
    )


@pytest.mark.parametrize("y", [np.full(60, 0.5), np.arange(60) - 1, np.zeros(60, int)])
def test_bad_labels_are_refused(tmp_path, y):
    write_classification(tmp_path)
    path = tmp_path / "tabular" / "labels.npz"
    np.savez(path, **{**dict(np.load(path)), "y": y})
    with pytest.raises(ValueError, match="Expected integer labels from 0 of at least two classes in labels; got"):
        load_classification("labels", tmp_path)


def test_labels_may_be_floats(tmp_path):
    write_classification(tmp_path)
    path = tmp_path / "tabular" / "labels.npz"
    stored = dict(np.load(path))
    np.savez(path, **{**stored, "y": stored["y"].astype(float)})
    np.testing.assert_array_equal(load_classification("labels", tmp_path).y, stored["y"])


def test_scores_agree_with_values_computed_by_hand():
    probs, y = np.array([[1.0, 0.0], [0.25, 0.75]]), np.array([1, 1])
    found = tabular_score.of_probabilities(probs, y)
    assert found["nll"] == pytest.approx((12 * np.log(10) - np.log(0.75)) / 2)
    assert found["accuracy"] == 50
    assert found["ece"] == pytest.approx(100 * (1 + 0.25) / 2)
    found = tabular_score.of_draws(Draws(np.zeros((1, 2)), np.ones((1, 2))), np.array([0.0, 1.8]))
    assert found["nll"] == pytest.approx(0.5 * np.log(2 * np.pi) + 1.8**2 / 4)
    assert found["rmse"] == pytest.approx(1.8 / np.sqrt(2))
    assert found["coverage"] == [50, 50, 100]
    several = tabular_score.over_splits([{"nll": 1.0, "coverage": [50.0]}, {"nll": 2.0, "coverage": [60.0]}])
    assert (several["nll"], several["nll_se"], several["coverage"]) == (1.5, 0.5, [55.0])
    assert tabular_score.over_splits([{"nll": 1.0}])["nll_se"] is None


def _scores(nll, ece):
    return {"nll": nll, "nll_se": None, "ece": ece, "ece_se": None, "accuracy": 90.0, "accuracy_se": 1.0}


RECORD = {
    "classification": {
        "one": {
            "methods": {
                FIT: _scores(0.2, 3.0),
                FIT_DEFAULT_DRAWS: _scores(0.1, 1.0),
                peers.MLP_CLASSIFIER: _scores(0.3, 2.0),
                peers.LOGISTIC: _scores(0.2, 4.0),
                peers.PROCESS: _scores(0.1, 1.0),
            },
            "left_out": {},
        },
        "two": {
            "methods": {
                FIT: _scores(0.9, 3.0),
                peers.MLP_CLASSIFIER: _scores(0.5, 2.0),
                peers.LOGISTIC: _scores(0.6, 4.0),
            },
            "left_out": {peers.PROCESS: "it is run up to 9 training rows"},
        },
    },
    "regression": {},
}


def test_methods_are_compared_over_the_sets_that_they_ran_on():
    sets = {name: found["methods"] for name, found in RECORD["classification"].items()}
    found = tabular_compare.compare(sets, tabular_compare.CLASSIFICATION)
    fit = found[FIT]
    assert (fit.sets, fit.wins, fit.worst_set) == (2, 1, "two")
    assert fit.worst_excess == pytest.approx(0.4)
    assert fit.mean_excess == pytest.approx(0.2)
    assert fit.ranks == {"nll": (2.5 + 3) / 2, "ece": (3 + 2) / 2}
    assert fit.near_process == (0, 1)
    assert found[peers.PROCESS].ranks == {"nll": 1, "ece": 1}
    assert found[FIT_DEFAULT_DRAWS].ranks is None
    assert (found[peers.MLP_CLASSIFIER].wins, found[peers.LOGISTIC].wins) == (1, 1)


def test_the_tables_show_the_record():
    text = as_markdown(json.loads(json.dumps(RECORD)))
    assert f"| {FIT} | 2 | 2.75 | 2.50 | 1 of 2 | 0.200 | 0.400 | two | 0 of 1 |" in text
    assert "| two | 0.900 | - | 0.500 | 0.600 | - |" in text
    assert "90.0 ± 1.0" in text
    assert "Gaussian process is left out on two: it is run up to 9 training rows." in text
    assert "## Regression" not in text


def test_fitted_noise_is_the_mean_squared_residual():
    rng = np.random.default_rng(0)
    mean, y = rng.normal(size=(1, 50)), rng.normal(size=50)
    expected = np.mean((mean[0] - y) ** 2)
    assert peers.fitted_noise(Draws(mean, np.zeros((1, 50))), y) == pytest.approx(expected, rel=1e-3)
    # The variance of the draws is subtracted.
    assert peers.fitted_noise(Draws(mean, np.full((1, 50), 0.5)), y) == pytest.approx(expected - 0.5, rel=1e-3)


def test_the_noise_comes_from_training_rows_that_were_held_out(tmp_path, monkeypatch):
    write_regression(tmp_path)
    (split,) = tabular_data.real_splits(load_regression("made", tmp_path), 1)
    calls = []

    def predictor(x, y, test_x):
        calls.append((len(x), test_x))
        return {"mean": Draws(np.zeros((1, len(test_x))), np.zeros((1, len(test_x))))}

    found = peers.with_noise(predictor, split, 0).predictions["mean"]
    *folds, (rows, test_x) = calls
    assert rows == 54
    assert test_x is split.test_x
    held = np.concatenate([part for _, part in folds])
    assert sorted(held[:, 0]) == sorted(split.x[:, 0])
    np.testing.assert_allclose(found.var, split.y_std**2, rtol=1e-3)
    monkeypatch.setattr(peers, "ENOUGH_ROWS", 20)
    calls.clear()
    peers.with_noise(predictor, split, 0)
    assert len(calls) == 3


@pytest.mark.slow
def test_every_peer_classifies_with_a_class_that_the_training_rows_lack():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 2))
    x[:, 0] += 4 * np.sign(x[:, 0])
    y = (x[:, 0] > 0).astype(int)
    y[:2] = 2
    (split,) = tabular_data.labelled_splits(ClassificationSet("rare", x, y, np.array([[0, 1, 2, 3, 4, 5]])), 1)
    for method in (
        peers.network_classifiers,
        peers.logistic_regression,
        peers.process_classifier,
        peers.forest_classifier,
    ):
        for probs in method(split, 0, SMALL).predictions.values():
            assert probs.shape == (6, 3)
            assert not probs[:, 2].any()
            np.testing.assert_allclose(probs.sum(axis=1), 1)
            assert tabular_score.of_probabilities(probs[2:], split.test_y[2:])["nll"] < 0.6


@pytest.mark.slow
def test_every_peer_learns_a_line(tmp_path):
    write_regression(tmp_path, rows=40)
    (split,) = tabular_data.real_splits(load_regression("made", tmp_path), 1)
    names = set()
    for method in (
        peers.network_regressors,
        peers.ridge_regression,
        peers.process_regressor,
        peers.forest_regressor,
    ):
        for name, draws in method(split, 0, SMALL).predictions.items():
            names.add(name)
            found = tabular_score.of_draws(draws, split.test_y)
            assert draws.mean.shape[1] == len(split.test_y)
            # The standard deviation of the targets is 20, and that of their noise is 2.
            assert found["rmse"] < 12, name
            assert found["nll"] < 4.2, name
    assert names == {peers.MLP_REGRESSOR, peers.ENSEMBLE, peers.RIDGE, peers.PROCESS, peers.FOREST}
