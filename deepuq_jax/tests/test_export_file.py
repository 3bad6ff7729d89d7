"""An exported file predicts in a process that has only JAX, for any number of inputs."""

import json
import subprocess
import sys
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export as jax_export

import deepuq_jax as dq

pytest.importorskip("flatbuffers")

KEY = jax.random.key(3)
X = np.linspace(-1, 1, 10, dtype=np.float32).reshape(5, 2)
READER = """
import json, sys, zipfile
for name in ("deepuq_jax", "flax", "optax"):
    sys.modules[name] = None
import numpy
from jax import export
data = zipfile.ZipFile(sys.argv[1]).read("function")
function = export.deserialize(bytearray(data)).call
x = numpy.linspace(-1, 1, 10, dtype=numpy.float32).reshape(5, 2)
print(json.dumps({name: array.tolist() for name, array in function(x, numpy.uint32(7)).items()}))
"""


def read(path):
    """Return the program of a file, and the contents of its needs.json."""
    with zipfile.ZipFile(path) as archive:
        needs = json.loads(archive.read("needs.json"))
        return jax_export.deserialize(bytearray(archive.read("function"))), needs


def poisson():
    return dq.BayesByBackpropMLP(2, (4,), 1, likelihood=dq.Poisson(), rngs=nnx.Rngs(0))


@pytest.mark.slow
def test_a_process_with_jax_alone_predicts_the_same(tmp_path):
    model, path = poisson(), tmp_path / "model.zip"
    dq.export(model, path, X[:1], n_samples=8, level=0.9)
    printed = subprocess.run([sys.executable, "-c", READER, str(path)], capture_output=True, text=True)
    assert printed.returncode == 0, printed.stderr
    found = json.loads(printed.stdout)
    expected = dq.predict_vi_uq(model, X, key=jax.random.key(7), n_samples=8)
    lower, upper = expected.interval(0.9)
    assert set(found) == {"mean", "epistemic_var", "aleatoric_var", "total_var", "lower", "upper"}
    for name in ("mean", "epistemic_var", "aleatoric_var", "total_var"):
        np.testing.assert_allclose(found[name], getattr(expected, name), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(found["lower"], lower)
    np.testing.assert_array_equal(found["upper"], upper)
    exported, needs = read(path)
    assert exported.platforms == ("cpu", "cuda")
    assert needs["inputs"] == {"x": "float32[batch, 2]", "seed": "uint32[]"}
    assert needs["jax"] == jax.__version__
    assert needs["platforms"] == ["cpu", "cuda"]
    assert (needs["n_samples"], needs["level"]) == (8, 0.9)
    assert needs["outputs"]["upper"] == "float32[batch, 1]"


@pytest.mark.slow
def test_a_key_is_kept_and_a_model_writes_equal_files_for_an_array_and_its_shape(tmp_path):
    model = dq.BayesByBackpropMLP(2, (4,), 3, likelihood=dq.Categorical(), rngs=nnx.Rngs(0))
    for name, x in (("a.zip", X), ("b.zip", jax.ShapeDtypeStruct((1, 2), jnp.float32))):
        dq.export(model, tmp_path / name, x, key=KEY, n_samples=4, platforms=["cpu", "cpu"])
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    exported, needs = read(tmp_path / "a.zip")
    assert list(needs["inputs"]) == ["x"]
    found, expected = exported.call(X), dq.predict_vi_uq(model, X, key=KEY, n_samples=4)
    for name in ("probs", "probs_var", "predictive_entropy", "mutual_information"):
        np.testing.assert_allclose(found[name], getattr(expected, name), rtol=1e-4, atol=1e-6)
    readme = zipfile.ZipFile(tmp_path / "a.zip").read("README.txt").decode()
    assert "function(x)" in readme
    assert f"jax {jax.__version__} for cpu." in readme


@pytest.mark.long
def test_a_network_with_state_is_exported_in_evaluation_mode_for_dicts(tmp_path):
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.conv = nnx.Conv(1, 2, (2,), rngs=rngs)
            self.norm, self.dropout = nnx.BatchNorm(2, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

        def __call__(self, inputs):
            found = self.dropout(self.norm(self.conv(inputs["signal"])))
            return found.reshape(found.shape[0], -1) * inputs["factor"]

    model = dq.bayesianize(Net(nnx.Rngs(0)), likelihood=dq.Gaussian(0.1))
    inputs = {"signal": X[..., None], "factor": X[:, :1]}
    dq.export(model, tmp_path / "net.zip", inputs, key=KEY, n_samples=2, platforms=["cpu"])
    exported, needs = read(tmp_path / "net.zip")
    assert needs["inputs"] == {"x.factor": "float32[batch, 1]", "x.signal": "float32[batch, 2, 1]"}
    expected = dq.predict_vi_uq(model, inputs, key=KEY, n_samples=2)
    np.testing.assert_allclose(exported.call(inputs)["mean"], expected.mean, rtol=1e-4, atol=1e-6)


def fixed(outputs):
    """Add an array of NumPy, for which the shape of the outputs must be known."""
    return outputs + np.zeros(outputs.shape, np.float32)


@pytest.mark.slow
def test_a_model_that_must_know_the_number_of_inputs_asks_for_it(tmp_path):
    net = nnx.Sequential(nnx.Linear(2, 1, rngs=nnx.Rngs(0)), fixed)
    model = dq.bayesianize(net, likelihood=dq.Gaussian(0.1))
    options = dict(key=KEY, n_samples=2, platforms=["cpu"])
    with pytest.raises(ValueError, match=r"^Expected batch_size for a model"):
        dq.export(model, tmp_path / "net.zip", X, **options)
    assert not (tmp_path / "net.zip").exists()
    dq.export(model, tmp_path / "net.zip", X, batch_size=3, **options)
    exported, needs = read(tmp_path / "net.zip")
    assert needs["inputs"] == {"x": "float32[3, 2]"}
    assert exported.call(X[:3])["mean"].shape == (3, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"model": nnx.Linear(2, 1, rngs=nnx.Rngs(0))},
        {"x": None},
        {"x": 1.0},
        {"x": "model.zip"},
        {"x": [["a"]]},
        {"x": np.zeros((0, 2))},
        {"x": np.zeros((2, 2), complex)},
        {"key": 0},
        {"n_samples": 0},
        {"level": 1.0},
        {"batch_size": 0},
        {"platforms": "cpu"},
        {"platforms": []},
        {"platforms": ["gpu"]},
        {"platforms": [1]},
    ],
)
def test_bad_arguments_are_refused(change, tmp_path):
    arguments = {"model": poisson(), "path": tmp_path / "model.zip", "x": X, "key": KEY, **change}
    with pytest.raises((ValueError, TypeError), match=r"^Expected"):
        dq.export(**arguments)
    assert not list(tmp_path.iterdir())


def test_without_flatbuffers_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(ImportError, match=r"deepuq-jax\[interop\]"):
        dq.export(poisson(), tmp_path / "model.zip", X)
