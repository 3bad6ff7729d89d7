"""The made data of the benchmark of smooth functions, its record, and a short run of it."""

import json

import numpy as np
import pytest

from benchmarks.accuracy import smooth
from benchmarks.speed import results

COMMITTED = results.RESULTS / "accuracy-smooth.json"


@pytest.mark.parametrize("name", smooth.FUNCTIONS)
def test_signal_and_noise_have_the_sizes_that_the_table_names(name):
    clean, noisy = (smooth.Data(name, noise, 4000, seed=3) for noise in (0.0, 0.5))
    np.testing.assert_array_equal(clean.train[0], noisy.train[0])
    signal = np.concatenate([clean.train[1], clean.test[1]])
    noise = np.concatenate([noisy.train[1], noisy.test[1]]) - signal
    np.testing.assert_allclose([signal.mean(), signal.std()], [0, 1], atol=1e-5)
    assert noise.std() == pytest.approx(0.5, rel=0.05)
    assert abs(np.corrcoef(noise[:, 0], signal[:, 0])[0, 1]) < 0.05
    assert len(clean.train[0]) == 4000
    assert len(clean.test[0]) == smooth.TESTS


def test_each_repetition_has_data_of_its_own():
    one, other = (smooth.Data("sines", 0.1, 50, seed) for seed in (0, 1))
    assert not np.allclose(one.train[0], other.train[0])


def test_the_tables_are_those_of_the_record():
    record = json.loads(COMMITTED.read_text(encoding="utf-8"))
    assert COMMITTED.with_suffix(".md").read_text(encoding="utf-8") == smooth.as_markdown(record) + "\n"
    assert list(record["sets"]) == [f"{name}, {noise:g}" for name in smooth.FUNCTIONS for noise in smooth.NOISES]
    assert record["plan"]["repetitions"] == smooth.Plan().repetitions


@pytest.mark.long
def test_the_command_writes_what_it_prints(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    path = tmp_path / "smooth.json"
    record = smooth.main(["--quick", "--json", str(path)])
    for found in record["sets"].values():
        assert list(found["methods"]) == list(smooth.METHODS)
        assert all(np.isfinite(scores["log_likelihood"]) for scores in found["methods"].values())
    assert path.with_suffix(".md").read_text().strip() in capsys.readouterr().out
    assert path.with_suffix(".png").stat().st_size > 0
