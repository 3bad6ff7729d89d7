"""Results as tables and data sets, and draws in the format of ArviZ."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax.interop import to_dataframe, to_dataset, to_datatree

pytest.importorskip("pandas")
pytest.importorskip("xarray")

KEY = jax.random.key(0)
MEAN = np.arange(6.0, dtype=np.float32).reshape(3, 2)
PROBS = np.array([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5]], np.float32)
REGRESSION = dq.UQResult(MEAN, MEAN + 1, MEAN + 2, 2 * MEAN + 3, metadata={"task": "regression", "n_samples": 5})
CLASSIFICATION = dq.UQResult(
    PROBS, PROBS / 2, None, PROBS / 2, PROBS, PROBS / 2, {}, np.ones(3, np.float32), np.zeros(3, np.float32)
)
X = np.linspace(-1, 1, 12, dtype=np.float32)[:, None]
MODEL = dq.BayesByBackpropMLP(1, (4,), 1, likelihood=dq.Gaussian(0.3), rngs=nnx.Rngs(0))


def test_a_table_has_a_column_per_field_and_target():
    table = to_dataframe(REGRESSION, names=["a", "b"], level=0.9, index=["x", "y", "z"])
    lower, upper = REGRESSION.interval(0.9)
    expected = {"mean": MEAN, "epistemic_var": MEAN + 1, "aleatoric_var": MEAN + 2, "total_var": 2 * MEAN + 3}
    expected |= {"lower": lower, "upper": upper}
    assert list(table.columns) == [f"{field}_{name}" for field in expected for name in "ab"]
    np.testing.assert_array_equal(table.to_numpy(), np.stack([*expected.values()], 1).reshape(3, -1))
    assert list(table.index) == ["x", "y", "z"]
    assert list(to_dataframe(REGRESSION).columns)[:2] == ["mean_0", "mean_1"]


def test_a_single_target_has_no_number():
    single = dq.UQResult(mean=MEAN[:, :1], total_var=MEAN[:, :1])
    assert list(to_dataframe(single).columns) == ["mean", "total_var"]
    assert list(to_dataframe(single, names=["a"]).columns) == ["mean_a", "total_var_a"]
    assert list(to_dataframe(dq.UQResult(mean=MEAN[:, 0])).columns) == ["mean"]


def test_a_classification_has_each_number_once():
    table = to_dataframe(CLASSIFICATION, names=["cat", "dog"])
    named = ["probs_cat", "probs_dog", "probs_var_cat", "probs_var_dog", "predictive_entropy", "mutual_information"]
    assert list(table.columns) == named
    np.testing.assert_array_equal(table["probs_dog"], PROBS[:, 1])


def test_a_data_set_has_named_axes_units_and_metadata():
    data = to_dataset(CLASSIFICATION, names=["cat", "dog"], index=[10, 20, 30])
    assert data.probs.dims == ("example", "class")
    np.testing.assert_array_equal(data.probs.sel({"class": "dog"}), PROBS[:, 1])
    np.testing.assert_array_equal(data.example, [10, 20, 30])
    assert data.predictive_entropy.attrs == {"units": "nats"}
    data = to_dataset(REGRESSION, level=0.5)
    assert data.attrs == {"task": "regression", "n_samples": 5}
    assert data.lower.dims == ("example", "target")
    deep = to_dataset(dq.UQResult(mean=np.zeros((2, 3, 4, 5))))
    assert deep["mean"].dims == ("example", "target", "axis_2", "axis_3")


@pytest.mark.slow
def test_draws_are_of_the_posterior_and_aligned():
    tree = to_datatree(MODEL, key=KEY, n_samples=3, x=X, y=X**2)
    posterior = {name: np.asarray(values)[0] for name, values in tree["posterior"].items()}
    assert {name: values.shape for name, values in posterior.items()} == {
        "layers.0.kernel": (3, 1, 4),
        "layers.0.bias": (3, 4),
        "layers.2.kernel": (3, 4, 1),
        "layers.2.bias": (3, 1),
    }
    hidden = np.maximum(X @ posterior["layers.0.kernel"] + posterior["layers.0.bias"][:, None], 0)
    outputs = hidden @ posterior["layers.2.kernel"] + posterior["layers.2.bias"][:, None]
    drawn = dq.draw(MODEL, key=jax.random.fold_in(KEY, 1))
    np.testing.assert_allclose(outputs[1], drawn(X), rtol=1e-4, atol=1e-5)
    expected = -0.5 * ((X**2 - outputs) / 0.3) ** 2 - np.log(0.3) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(tree["log_likelihood"]["y"][0], expected[..., 0], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(tree["observed_data"]["y"], X**2)
    assert tree["posterior_predictive"]["y"].dims == ("chain", "draw", "y_dim_0", "y_dim_1")
    residuals = (np.asarray(tree["posterior_predictive"]["y"][0]) - outputs) / 0.3
    assert abs(residuals.mean()) < 5 / residuals.size**0.5
    assert residuals.std() == pytest.approx(1.0, abs=5 / (2 * residuals.size) ** 0.5)


@pytest.mark.long
def test_arviz_reads_the_draws():
    arviz_stats = pytest.importorskip("arviz_stats")
    pytest.importorskip("arviz_base")
    model = dq.BayesByBackpropMLP(1, (4,), 1, likelihood=dq.Gaussian(3.0), rngs=nnx.Rngs(0))
    tree = to_datatree(model, key=KEY, n_samples=100, x=X, y=X**2)
    # With noise this large, no example has much influence, and the importance weights need no smoothing.
    held_out = np.log(100) - jax.nn.logsumexp(-np.asarray(tree["log_likelihood"]["y"][0]), axis=0)
    loo = arviz_stats.loo(tree)
    assert loo.n_data_points == 12
    assert loo.elpd == pytest.approx(float(held_out.sum()), abs=0.05)


@pytest.mark.long
def test_draws_of_a_network_a_class_and_a_pruned_model():
    class Own(nnx.Module):
        def __init__(self):
            self.weights = dq.BayesianLinear(1, 2, rngs=nnx.Rngs(0))

        def __call__(self, x, *, key=None):
            return self.weights(x, key=key)

    assert set(to_datatree(Own(), key=KEY, n_samples=2)["posterior"]) == {"weights.kernel", "weights.bias"}
    net = nnx.Sequential(nnx.Linear(1, 2, rngs=nnx.Rngs(0)), nnx.Linear(2, 1, rngs=nnx.Rngs(1)))
    last = dq.bayesianize(net, where="last_layer")
    assert set(to_datatree(last, key=KEY, n_samples=2)["posterior"]) == {"layers.1.kernel", "layers.1.bias"}
    pruned = to_datatree(dq.prune(MODEL, 0.75), key=KEY, n_samples=2)["posterior"]
    assert sum(int((values[0, 0] != 0).sum()) for values in pruned.values()) == 4
    masked = dq.bayesianize(net, likelihood=dq.Masked(dq.Gaussian(0.3)))
    tree = to_datatree(masked, key=KEY, n_samples=2, x=X, y=(X, np.ones(12, bool)))
    assert set(tree["observed_data"]) == {"y.0", "y.1"}


@pytest.mark.parametrize(
    "call",
    [
        lambda: to_dataframe(MEAN),
        lambda: to_dataframe(REGRESSION, names=["a"]),
        lambda: to_dataframe(REGRESSION, names=["a", "a"]),
        lambda: to_dataframe(REGRESSION, names="ab"),
        lambda: to_dataframe(REGRESSION, index=[1]),
        lambda: to_dataframe(REGRESSION, level=1.0),
        lambda: to_dataframe(CLASSIFICATION, level=0.5),
        lambda: to_dataframe(dq.UQResult(mean=np.zeros((2, 2, 2)))),
        lambda: to_dataset(MEAN),
        lambda: to_dataset(REGRESSION, names=["a"]),
        lambda: to_dataset(REGRESSION, index=[1]),
        lambda: to_datatree(nnx.Linear(1, 1, rngs=nnx.Rngs(0)), key=KEY),
        lambda: to_datatree(MODEL, key=0),
        lambda: to_datatree(MODEL, key=KEY, n_samples=0),
        lambda: to_datatree(MODEL, key=KEY, y=X),
        lambda: to_datatree(MODEL, key=KEY, x=X, y=X[:3]),
        lambda: to_datatree(dq.BayesianLinear(1, 1, rngs=nnx.Rngs(0)), key=KEY, x=X),
    ],
)
def test_bad_arguments_are_refused(call):
    with pytest.raises((ValueError, TypeError), match=r"^Expected"):
        call()


def test_without_the_libraries_the_error_names_the_extra(monkeypatch):
    for library in ("pandas", "xarray"):
        monkeypatch.setitem(sys.modules, library, None)
    for call in (to_dataframe, to_dataset):
        with pytest.raises(ImportError, match=r"deepuq-jax\[interop\]"):
            call(REGRESSION)
    with pytest.raises(ImportError, match=r"deepuq-jax\[interop\]"):
        to_datatree(MODEL, key=jnp.zeros(2))
