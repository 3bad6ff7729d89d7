"""The loaders read the described files, the splits are the published ones, and errors say what is missing."""

from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest

from benchmarks.accuracy import data, openml
from benchmarks.accuracy.tests.files import write_idx, write_mnist, write_regression
from benchmarks.accuracy.uci_splits import FOLDS, validation_splits
from benchmarks.accuracy.uci_splits import test_splits as whole_splits


def test_a_regression_set_is_read_as_it_was_written(tmp_path):
    write_regression(tmp_path)
    found = data.load_regression("made", tmp_path)
    assert data.regression_names(tmp_path) == ["made"]
    assert found.x.shape == (60, 2)
    for train, test in zip(found.train_index(), found.test_index, strict=True):
        assert sorted([*train, *test]) == list(range(60))


def test_mnist_is_read_as_it_was_written(tmp_path):
    write_mnist(tmp_path)
    found = data.load_mnist(tmp_path)
    assert found.train_x.shape == (240, 784)
    assert found.train_x.dtype == np.uint8
    rows = found.test_x.reshape(-1, 28, 28).mean(axis=2).argmax(axis=1)
    np.testing.assert_array_equal(rows, 2 + 2 * found.test_y)


def test_the_standard_splits_are_the_published_ones():
    """Compare the first test rows of the first split of Boston housing (506 rows) and of yacht (308 rows)."""
    assert data.standard_splits(506)[0][:8].tolist() == [431, 115, 470, 216, 264, 209, 316, 384]
    assert data.standard_splits(308)[0][:8].tolist() == [121, 115, 286, 216, 264, 209, 1, 22]


def test_training_choice_and_standardisation_use_no_test_row(tmp_path):
    write_regression(tmp_path)
    found = data.load_regression("made", tmp_path)
    whole, inner = whole_splits(found), validation_splits(found, seed=0)
    assert whole.x.shape[1] + whole.held_x.shape[1] == 60
    assert inner.x.shape[1] + inner.held_x.shape[1] == whole.x.shape[1]
    count = len(found.test_index)
    for i in range(FOLDS * count):
        test = found.test_index[i % count]
        assert not set(found.y[test]) & set(inner.held_y[i])
        assert all(not set(inner.held_y[i]) & set(inner.held_y[j]) for j in range(i % count, i, count))
        trained = inner.y[i, :, 0] * inner.y_std[i] + inner.y_mean[i]
        assert np.abs(trained[:, None] - found.y[test]).min() > 1e-5
    for i, test in enumerate(found.test_index):
        np.testing.assert_array_equal(whole.held_y[i], found.y[test])
    for splits in (whole, inner):
        np.testing.assert_allclose(splits.x.mean(axis=1), 0.0, atol=1e-5)
        np.testing.assert_allclose(splits.y.std(axis=1), 1.0, rtol=1e-5)


def test_a_constant_input_is_centred():
    x = np.stack([np.full(20, 7.0), np.arange(20.0)], axis=1)
    found = data.RegressionSet("flat", x, np.arange(20.0), np.array([[0, 1]]))
    assert np.isfinite(whole_splits(found).x).all()
    assert not whole_splits(found).x[..., 0].any()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(test_index=np.array([[0, 99]])), "rows of made"),
        (dict(test_index=np.array([[1, 1]])), "once"),
        (dict(y=np.full(60, np.nan)), "finite"),
        (dict(y=np.zeros(59)), "x \\[n, d\\]"),
    ],
)
def test_a_malformed_set_is_refused(tmp_path, change, words):
    write_regression(tmp_path)
    path = tmp_path / "uci" / "made.npz"
    np.savez(path, **{**dict(np.load(path)), **change})
    with pytest.raises(ValueError, match=words):
        data.load_regression("made", tmp_path)


def test_missing_files_are_named(tmp_path, monkeypatch):
    write_regression(tmp_path)
    with pytest.raises(FileNotFoundError, match="made"):
        data.load_regression("other", tmp_path)
    with pytest.raises(FileNotFoundError, match="train-images"):
        data.load_mnist(tmp_path)
    path = tmp_path / "labels.gz"
    write_idx(path, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="magic"):
        data.read_idx(path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        data.data_dir(tmp_path / "nowhere")
    monkeypatch.setenv(data.ENVIRONMENT, str(tmp_path))
    assert data.data_dir(None) == tmp_path


def test_the_error_without_a_connection_says_what_to_do(monkeypatch):
    datasets = pytest.importorskip("sklearn.datasets")

    def refuse(*_, **__):
        raise URLError("no route")

    monkeypatch.setattr(datasets, "fetch_openml", refuse)
    with pytest.raises(openml.OfflineError, match="--data-dir"):
        data.load_mnist(None)
    with pytest.raises(ValueError, match="bostonHousing"):
        data.load_regression("unknown", None)


def test_openml_gives_inputs_and_the_first_target(monkeypatch):
    datasets = pytest.importorskip("sklearn.datasets")
    columns = np.arange(768 * 10.0).reshape(768, 10)
    monkeypatch.setattr(datasets, "fetch_openml", lambda name, **_: SimpleNamespace(data=columns))
    found = data.load_regression("energy", None)
    assert found.x.shape == (768, 8)
    assert found.y[0] == 8.0
    assert found.test_index.shape == (20, 77)
    with pytest.raises(ValueError, match="506 rows"):
        data.load_regression("bostonHousing", None)
