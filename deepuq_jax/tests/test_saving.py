"""Models come back from a file as they were saved, bit for bit."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax import estimators, layers, likelihoods, priors
from deepuq_jax.tests.saved_models import flax_stack, in_mode, linear, round_trip, same
from deepuq_jax.tests.test_contracts import build
from deepuq_jax.tests.test_likelihood_contracts import CASES

PRIORS = [getattr(priors, name) for name in priors.__all__ if inspect.isclass(getattr(priors, name))]
LIKELIHOODS = [case.likelihood for case in CASES.values()] + [dq.Categorical((1.0, 3.0), 0.1), dq.UnknownNoise()]
HOSTS = np.linspace(0, 9, 8)[:, None]
SCALES = jnp.linspace(0.5, 1.0, 8).reshape(4, 2)
NET = nnx.Sequential(nnx.Linear(4, 4, rngs=nnx.Rngs(0)), nnx.relu, nnx.Dropout(0.5, rngs=nnx.Rngs(1)))

MODELS = {
    "no bias": lambda: linear(use_bias=False),
    "bfloat16": lambda: linear(dtype=jnp.bfloat16),
    "prior with arrays": lambda: linear(prior=dq.GaussianPrior(sigma=jnp.ones(2))),
    "prior per tensor": lambda: linear(
        prior=dq.by_path({"bias": dq.LaplacePrior(), "*": dq.GaussianPrior(sigma=SCALES)})
    ),
    "learned per tensor": lambda: linear(prior=lambda path, leaf: dq.LearnedPrior(dq.GaussianPrior(sigma=0.3))),
    "whole numbers": lambda: linear(prior=dq.GaussianPrior(mu=0, sigma=1)),
    "convolution": lambda: dq.BayesianConv(
        4, 6, (3, 2), strides=2, padding=(1, (0, 2)), feature_group_count=2, rngs=nnx.Rngs(0)
    ),
    "pruned": lambda: dq.prune(linear(), 0.5),
    "pruned convolution": lambda: dq.prune(dq.BayesianConv(4, 2, 3, use_bias=False, rngs=nnx.Rngs(0)), 0.5),
    "one layer": lambda: dq.BayesByBackpropMLP(4, (), 2, rngs=nnx.Rngs(0)),
    "further activation": lambda: dq.BayesByBackpropMLP(4, (2,), 2, activation=nnx.sigmoid, rngs=nnx.Rngs(0)),
    "rule over an MLP": lambda: dq.BayesByBackpropMLP(
        4, (2,), 2, rngs=nnx.Rngs(0), prior=dq.by_path({"layers.0.*": dq.GaussianPrior(), "*": dq.LaplacePrior()})
    ),
    "learned noise": lambda: dq.Sequential(linear(), dq.LearnedNoise(2), likelihood=dq.LogNormal()),
    "learned t noise": lambda: dq.Sequential(linear(), dq.LearnedStudentTNoise(2), likelihood=dq.StudentT()),
    "embedding of Flax": lambda: dq.Sequential(nnx.Embed(6, 4, rngs=nnx.Rngs(0)), linear()),
    "network of Flax": flax_stack,
    "network of Flax in evaluation": lambda: in_mode(flax_stack(), True),
    "network in a network": lambda: dq.Sequential(dq.Sequential(linear(), nnx.relu), likelihood=dq.Gaussian(0.1)),
    "last layer": lambda: dq.LastLayerVariationalInference(NET, 4, 2, "classification", rngs=nnx.Rngs(0)),
    "last layer on frozen features": lambda: dq.LastLayerVariationalInference(
        NET, 4, 1, heteroscedastic=True, frozen=True, rngs=nnx.Rngs(0)
    ),
    "last layer with noise": lambda: dq.LastLayerVariationalInference(
        jnp.tanh, 4, 2, likelihood=dq.Gaussian(0.1), prior=dq.LaplacePrior(), rngs=nnx.Rngs(0)
    ),
    "standardized": lambda: dq.Standardized(
        dq.Sequential(dq.BayesianLinear(1, 2, rngs=nnx.Rngs(0)), likelihood=dq.Poisson()), HOSTS, HOSTS.astype(int)
    ),
    "standardized targets": lambda: dq.Standardized(
        dq.HomoscedasticBayesByBackpropRegressor(1, (2,), 1, rngs=nnx.Rngs(0)), HOSTS, 5 + 3 * HOSTS
    ),
}


@pytest.mark.parametrize("name", layers.__all__)
def test_every_layer_comes_back(name, tmp_path):
    model, _ = build(name)
    assert same(round_trip(model, tmp_path / "model"), model)


@pytest.mark.parametrize("prior", PRIORS, ids=lambda prior: prior.__name__)
def test_every_prior_comes_back(prior, tmp_path):
    model = linear(prior=prior())
    loaded = round_trip(model, tmp_path / "model")
    assert same(loaded, model)
    assert type(dq.model.variables.unwrap(loaded.prior)) is prior


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_every_likelihood_comes_back(likelihood, tmp_path):
    model = dq.Sequential(linear(), likelihood=likelihood)
    loaded = round_trip(model, tmp_path / "model")
    assert loaded.likelihood == likelihood
    assert same(loaded, model)


def test_every_likelihood_has_a_case():
    assert {type(likelihood).__name__ for likelihood in LIKELIHOODS} == set(likelihoods.__all__)


@pytest.mark.parametrize("name", estimators.__all__)
def test_every_estimator_comes_back(name, tmp_path):
    model = linear(estimator=getattr(estimators, name))
    assert same(round_trip(model, tmp_path / "model"), model)


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_setting_comes_back(name, tmp_path):
    model = MODELS[name]()
    assert same(round_trip(model, tmp_path / "model"), model)


def test_double_precision_comes_back_where_it_is_on(tmp_path, x64):
    model = linear(param_dtype=jnp.float64, prior=dq.LearnedPrior(dq.GaussianPrior(sigma=0.1)))
    assert same(round_trip(model, tmp_path / "model"), model)
    jax.config.update("jax_enable_x64", False)
    with pytest.raises(ValueError, match=r"model to hold .* Expected jax_enable_x64 to be on"):
        dq.load(tmp_path / "model")


def test_arrays_without_entries_and_of_any_dtype_come_back(tmp_path):
    model = linear()
    model.empty = nnx.BatchStat(jnp.zeros((0, 3), jnp.bfloat16))
    model.scalar = nnx.BatchStat(jnp.asarray(7, jnp.int8))
    with pytest.raises(ValueError, match=r"these changes: empty is bfloat16\[0, 3\] in the file"):
        dq.save(tmp_path / "model", model)

    class Changed(dq.BayesianLinear):
        pass

    own = Changed(4, 2, rngs=nnx.Rngs(0))
    own.empty, own.scalar = model.empty, model.scalar
    assert same(round_trip(own, tmp_path / "model", like=own), own)


def test_names_and_layout_are_the_documented_ones(tmp_path):
    load_file = pytest.importorskip("safetensors.numpy").load_file
    model = dq.HomoscedasticBayesByBackpropRegressor(3, (4,), 2, rngs=nnx.Rngs(0))
    dq.save(tmp_path / "model", model)
    found = load_file(tmp_path / "model")
    parts = [f"{name}_posterior.{part}" for name in ("weight", "bias") for part in ("mu", "rho")]
    assert set(found) == {f"{layer}.{part}" for layer in ("hidden_layers.0", "output_layer") for part in parts} | {
        "raw_var"
    }
    np.testing.assert_array_equal(found["output_layer.weight_posterior.mu"], model.layers[2].kernel_posterior.mu.T)


def test_metadata_come_back_and_the_same_model_gives_the_same_bytes(tmp_path):
    metadata = {"data": "boston", "epochs": 3, "loss": [0.1, 1e-300], "none": None, "nested": {"ü": True}}
    for name in ("a", "b"):
        dq.save(tmp_path / name, linear(), metadata=metadata)
    assert dq.saving.read_metadata(tmp_path / "a") == metadata
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ({"a": (1,)}, TypeError),
        ({1: 2}, TypeError),
        ({"a": float("nan")}, ValueError),
        ({"a": HOSTS}, TypeError),
        (3, TypeError),
    ],
)
def test_metadata_that_would_not_come_back_are_refused(metadata, error, tmp_path):
    with pytest.raises(error, match="Expected metadata"):
        dq.save(tmp_path / "model", linear(), metadata=metadata)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_loaded_model_continues_to_train_with_the_compiled_programs(tmp_path):
    model = flax_stack()
    x, y = jnp.asarray(np.random.default_rng(0).normal(size=(8, 5, 2)), jnp.float32), np.arange(8) % 2
    traces = []

    @jax.jit
    def outputs(model, x, key):
        traces.append(1)
        return model(x, key=key), model(x), model.kl()

    key, optimizer = jax.random.key(0), optax.adam(1e-2)
    loaded = round_trip(model, tmp_path / "model")
    before, after = outputs(model, x, key), outputs(loaded, x, key)
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
    assert len(traces) == 1
    pooled = dq.likelihoods.Categorical()

    def score(outputs, y):
        return pooled.log_prob(outputs.mean(axis=1), y)

    options = {"key": key, "optimizer": optimizer, "objective": dq.ELBO(log_likelihood=score), "epochs": 2}
    trained = [dq.fit(one, x, y, batch_size=4, **options).model for one in (model, loaded)]
    assert same(*trained)
    assert same(round_trip(trained[0], tmp_path / "model"), trained[0])
