"""The comparison with bde, without bde: splits, scores, processes and tables."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

import deepuq_jax as dq
from benchmarks.accuracy.uci_score import LEVELS, Draws
from benchmarks.bde import command, data, methods, processes, report, worker
from deepuq_jax.sklearn import VIRegressor

RECORD = Path(command.__file__).parents[1] / "results" / "bde.json"


@pytest.fixture
def package(tmp_path):
    """A folder with the files of the wheel of bde, of few rows."""
    folder = tmp_path / "bde" / "data"
    (folder / "bike_sharing_dataset").mkdir(parents=True)
    (folder / "airfoil.csv").write_text("a,b,target\n1,2,3\n4,5,6\n")
    (folder / "concrete.data").write_text("1 2 3\n4 5 6\n7 8 9\n")
    header = "instant,dteday,season,yr,mnth,hr,holiday,weekday,workingday,weathersit,temp,atemp,hum,windspeed,casual"
    row = "1,2011-01-01,2,3,4,5,6,7,8,9,10,11,12,13,100,200,300"
    (folder / "bike_sharing_dataset" / "hour.csv").write_text(f"{header},registered,cnt\n{row}\n{row}\n")
    return tmp_path / "bde"


def test_the_sets_have_the_columns_of_the_paper(package):
    x, y = data.read("airfoil", package)
    assert (x.tolist(), y.tolist()) == ([[1, 2], [4, 5]], [3, 6])
    x, y = data.read("concrete", package)
    assert (x.tolist(), y.tolist()) == ([[1, 2], [4, 5], [7, 8]], [3, 6, 9])
    x, y = data.read("bike sharing", package)
    assert x[0].tolist() == list(range(2, 14))
    assert y.tolist() == [300, 300]


def test_splits_divide_the_rows_and_follow_the_seed():
    x, y = np.arange(60.0).reshape(30, 2), np.arange(30.0)
    found = list(data.splits(x, y, count=3, seed=0))
    for split in found:
        assert len(split.test_y) == 3
        assert sorted([*split.y, *split.test_y]) == y.tolist()
        np.testing.assert_array_equal(split.x[:, 0], 2 * split.y)
        np.testing.assert_array_equal(split.test_x[:, 0], 2 * split.test_y)
    tests = [tuple(split.test_y) for split in found]
    assert len(set(tests)) == 3
    assert tests[:2] == [tuple(split.test_y) for split in data.splits(x, y, count=2, seed=0)]
    assert tests[0] != tuple(next(data.splits(x, y, count=1, seed=1)).test_y)


def test_scores_are_those_of_the_mixture():
    mean, std, y = np.array([[0.0, 1.0], [2.0, 5.0]]), np.array([[1.0, 0.5], [0.3, 2.0]]), np.array([0.4, 9.0])
    found = processes.scores(Draws(mean, std**2), y)
    densities = norm.pdf(y, mean, std).mean(axis=0)
    assert found["nll"] == pytest.approx(-np.log(densities).mean(), rel=1e-12)
    assert found["rmse"] == pytest.approx(np.sqrt(((1.0 - 0.4) ** 2 + (3.0 - 9.0) ** 2) / 2), rel=1e-12)
    assert found["draws"] == 2

    def below(i):
        """The probability below y, by numerical integration of the mixture's density."""

        def density(t):
            return norm.pdf(t, mean[:, i], std[:, i]).mean()

        return quad(density, -30.0, y[i], limit=200, points=mean[:, i])[0]

    within = [[abs(below(i) - 0.5) <= level / 2 for level in LEVELS] for i in (0, 1)]
    assert found["coverage"] == (100 * np.mean(within, axis=0)).tolist()


def test_the_draws_of_bde_are_those_of_its_heads():
    """The heads of a made-up regressor are standardised as the README of bde does it."""

    class Regressor:
        def __init__(self, seed):
            self.seed = seed

        def fit(self, x, y):
            np.testing.assert_allclose([x.mean(), x.std(), y.mean(), y.std()], [0, 1, 0, 1], atol=1e-6)
            return self

        def predict(self, x, raw):
            assert raw
            return np.stack([x, np.full_like(x, 0.5)], axis=-1).reshape(1, 1, len(x), 2)

    found = worker.Data(np.array([[0.0], [2.0]]), np.array([10.0, 30.0]), np.array([[1.0], [3.0], [5.0]]))
    mean, var = worker.bde_run(Regressor)(found, {"seed": 0})
    np.testing.assert_allclose(mean, [[20.0, 40.0, 60.0]], rtol=1e-7)
    np.testing.assert_allclose(var, np.full((1, 3), (10 * np.log1p(np.exp(0.5))) ** 2), rtol=1e-5)


def test_a_missing_environment_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(SystemExit) as ended:
        command.main(["--python", str(tmp_path / "python")])
    assert str(ended.value) == (
        "Expected --python to be a Python with sklearn-contrib-bde, which `make bench-bde` installs; "
        f"got {tmp_path / 'python'}."
    )


def test_bad_options_are_refused_in_a_sentence(capsys):
    for argv, words in (
        (["--sets", "airfoyl"], "Expected --sets to match a set; got airfoyl. The nearest: airfoil."),
        (["--splits", "0"], "Expected --splits to be at least 1; got 0."),
    ):
        with pytest.raises(SystemExit, match="2"):
            command.main(argv)
        assert words in capsys.readouterr().err


def test_the_process_of_bde_does_not_see_this_repository(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "here")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "there")
    environment = processes.Environment(Path("python"), Path("bde"))
    assert "-I" in processes.interpreter("bde", environment)
    theirs, ours = processes.variables("bde"), processes.variables("deepuq_jax")
    assert "PYTHONPATH" not in theirs
    assert ours["PYTHONPATH"] == str(processes.ROOT)
    assert all("JAX_COMPILATION_CACHE_DIR" not in found for found in (theirs, ours))
    source = Path(worker.__file__).read_text(encoding="utf-8")
    assert "from benchmarks" not in source
    assert "import benchmarks" not in source


def test_a_run_goes_to_a_process_and_is_scored_here(monkeypatch):
    """The process is a made-up one, which writes what the worker would write."""
    split = next(data.splits(np.zeros((20, 2)), np.arange(20.0), count=1, seed=0))
    method = methods.Method("a", "deepuq_jax", {"n_samples": 3})

    def process(command, env, **options):
        folder = Path(command[-1])
        task = json.loads((folder / "task.json").read_text())
        assert task == {"library": "deepuq_jax", "settings": {"n_samples": 3, "random_state": 7}, "again": True}
        with np.load(folder / "data.npz") as file:
            assert set(file) == {"x", "y", "test_x"}
        np.savez(folder / "draws.npz", mean=split.test_y[None], var=np.ones((1, 2)))
        (folder / "measured.json").write_text(json.dumps({"seconds": 1.0}))
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr(processes.subprocess, "run", process)
    found = processes.run(method, split, processes.Environment(Path("p"), Path("b")), seed=7)
    assert (found["seconds"], found["rmse"], found["coverage"]) == (1.0, 0.0, [100.0] * 3)
    assert found["nll"] == pytest.approx(0.5 * np.log(2 * np.pi))


def test_the_worker_measures_and_keeps_the_draws(tmp_path, monkeypatch):
    calls = []

    def made_up(found, settings):
        calls.append(settings)
        return np.full((3, len(found.test_x)), len(calls)), np.ones((3, len(found.test_x)))

    monkeypatch.setitem(worker.LOADERS, "deepuq_jax", lambda: made_up)
    np.savez(tmp_path / "data.npz", x=np.zeros((4, 2)), y=np.zeros(4), test_x=np.zeros((2, 2)))
    for again in (False, True):
        calls.clear()
        task = {"library": "deepuq_jax", "settings": {"random_state": 1}, "again": again}
        (tmp_path / "task.json").write_text(json.dumps(task))
        worker.main(tmp_path)
        assert calls == [task["settings"]] * (1 + again)
        measured = json.loads((tmp_path / "measured.json").read_text())
        assert (measured["again"] is not None) == again
        assert measured["peak_bytes"] > 1e6
        assert measured["versions"]["jax"]
        with np.load(tmp_path / "draws.npz") as file:
            assert file["mean"].tolist() == np.ones((3, 2)).tolist()  # the draws of the first fit


@pytest.mark.long
def test_the_draws_of_this_library_are_those_of_its_own_density():
    """The NLL of the draws is that of `log_predictive_density`, up to the error of the draws."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    y = 100 + 20 * x[:, 0] + rng.normal(size=60)
    settings = {"likelihood": "heteroscedastic", "hidden_layer_sizes": [8], "max_iter": 60, "n_samples": 2000}
    model = VIRegressor(**settings, random_state=3).fit(x[:50], y[:50])
    found = worker.load_deepuq_jax()(worker.Data(x[:50], y[:50], x[50:]), settings | {"random_state": 3})
    test_x, test_y = x[50:].astype(np.float32), y[50:, None].astype(np.float32)
    own = dq.log_density_with_error(model.model_, test_x, test_y, key=jax.random.key(9), n_samples=2000)
    error = np.sqrt(2) * float(own.mean_error)
    assert processes.scores(Draws(*found), y[50:])["nll"] == pytest.approx(-float(own.mean), abs=5 * error)


def run(nll, seconds, again=None):
    return {
        **{"nll": nll, "rmse": 1.0, "coverage": [50.0, 90.0, 95.0], "seconds": seconds, "cpu": 1.5},
        **{"again": again, "peak_bytes": 5e8},
    }


def test_a_row_has_its_numbers_or_a_dash():
    found = {
        "a": [run(1.0, 2.0, {"seconds": 0.5}), run(2.0, 4.0, {"seconds": 0.7})],
        methods.BDE_README: [run(3.0, 40.0), run(3.0, 80.0)],
    }
    text = report.of_set({"methods": found})
    row = "| a | 1.500 ± 0.500 | 1.000 ± 0.000 | 50 / 90 / 95 | 3.0 | 1.5 | 0.6 | 5.0 % | 500 |"
    assert row in text
    assert (
        f"| {methods.BDE_README} | 3.000 ± 0.000 | 1.000 ± 0.000 | 50 / 90 / 95 | 60.0 | 1.5 | - | 100.0 % | 500 |"
        in text
    )


def test_the_committed_record_is_whole_and_drawn():
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    assert not record["quick"]
    assert list(record["sets"]) == list(data.SOURCES)
    assert record["settings"] == {method.name: method.settings for method in methods.METHODS}
    for found in record["sets"].values():
        assert all(len(runs) == found["splits"] for runs in found["methods"].values())
    assert RECORD.with_suffix(".md").read_text(encoding="utf-8") == report.as_markdown(record) + "\n"
    page = command.PAGE.read_text(encoding="utf-8")
    assert command.markers.block("bde", [report.in_short(record)]) in page
    pytest.importorskip("matplotlib")
    assert len(report.picture(record).axes) == len(record["sets"])


def test_the_committed_record_says_what_the_page_says():
    sets = json.loads(RECORD.read_text(encoding="utf-8"))["sets"]

    def mean(name, method, measured):
        return np.mean([one[measured] for one in sets[name]["methods"][method]])

    def behind(name, ours, theirs):
        return mean(name, ours, "nll") - mean(name, theirs, "nll")

    for name, gap in (("airfoil", 0.25), ("concrete", 0.44), ("bike sharing", -0.06)):
        assert behind(name, methods.OURS_OWN_NOISE, methods.BDE_README) == pytest.approx(gap, abs=0.005)
    advantages = [-behind(name, methods.OURS, methods.BDE) for name in sets]
    assert (round(min(advantages), 1), round(max(advantages), 1)) == (1.1, 1.7)
    ratio = mean("bike sharing", methods.OURS_OWN_NOISE, "rmse") / mean("bike sharing", methods.BDE_README, "rmse")
    assert round(100 * (1 - ratio)) == 8
    ratio = mean("concrete", methods.BDE_README, "rmse") / mean("concrete", methods.OURS_OWN_NOISE, "rmse")
    assert round(100 * (1 - ratio)) == 17
    own = [run["seconds"] for run in sets["bike sharing"]["methods"][methods.OURS_OWN_NOISE]]
    recipe = [run["seconds"] for run in sets["bike sharing"]["methods"][methods.BDE_README]]
    assert round(1000 * np.median(np.divide(own, recipe))) == 31
