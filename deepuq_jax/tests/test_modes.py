"""Predictions run in evaluation mode, and no gradient reaches what is not trained."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

import deepuq_jax as dq
from deepuq_jax.tests.profiles import small_profile

# Together, these tests take too long for `make check`.
pytestmark = pytest.mark.slow

X = jax.random.normal(jax.random.key(0), (16, 3))
Y = (X[:, 0] > 0).astype(jnp.int32)
KEY = jax.random.key(1)


class NNXNet(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(3, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.last = nnx.Linear(8, 2, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(nnx.relu(self.norm(self.first(x)))))


class LinenNet(linen.Module):
    @linen.compact
    def __call__(self, x, train: bool = True):
        x = linen.relu(linen.BatchNorm(use_running_average=not train)(linen.Dense(8)(x)))
        return linen.Dense(2)(linen.Dropout(0.5, deterministic=not train)(x))


class EquinoxNet(eqx.Module):
    first: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    dropout: eqx.nn.Dropout
    last: eqx.nn.Linear

    def __init__(self, key):
        first, last = jax.random.split(key)
        self.first, self.last = eqx.nn.Linear(3, 8, key=first), eqx.nn.Linear(8, 2, key=last)
        self.norm, self.dropout = eqx.nn.BatchNorm(8, axis_name="batch", mode="batch"), eqx.nn.Dropout(0.5)

    def __call__(self, x, state, *, key=None):
        x, state = self.norm(self.first(x), state)
        return self.last(self.dropout(jax.nn.relu(x), key=key)), state


def nnx_net():
    return NNXNet(nnx.Rngs(0))


def linen_net():
    net = LinenNet()
    return net, net.init({"params": KEY, "dropout": KEY}, X)


def equinox_net():
    return eqx.nn.make_with_state(EquinoxNet)(KEY)


def sequential():
    rngs = nnx.Rngs(0)
    members = (nnx.Linear(3, 8, rngs=rngs), nnx.BatchNorm(8, rngs=rngs), nnx.relu, nnx.Dropout(0.5, rngs=rngs))
    return dq.Sequential(*members, dq.BayesianLinear(8, 2, rngs=rngs), likelihood=dq.Categorical())


def bayesian(make):
    return lambda: dq.bayesianize(make(), sigma=0.01, likelihood=dq.Categorical())


MODELS = {
    "NNX": bayesian(nnx_net),
    "Linen": bayesian(linen_net),
    "Equinox": bayesian(equinox_net),
    "Sequential": sequential,
}
# `make test` runs a network of Flax and one of Equinox, which reach their modes in different ways.
SMALL = ["Linen", "Equinox", "Sequential"]
every_model = pytest.mark.parametrize("name", small_profile(MODELS, SMALL))


def probs(model, x, **options):
    return dq.predict_vi_uq(model, x, key=KEY, n_samples=4, **options).probs


@pytest.mark.parametrize("name", small_profile([*MODELS, "Sequential outside of jit"], SMALL))
def test_predictions_are_those_of_evaluation_mode_and_leave_the_model_as_it_is(name):
    """A row has the same probabilities alone as in its batch."""
    make, wrap = (MODELS[name], jax.jit) if name in MODELS else (sequential, lambda f: f)
    model, in_evaluation = make(), make()
    model.train()
    in_evaluation.eval()
    before = jax.tree.structure(model)
    predicted = wrap(probs)(model, X)
    np.testing.assert_allclose(predicted, probs(in_evaluation, X), rtol=1e-5)
    np.testing.assert_allclose(wrap(probs)(model, X[:1]), predicted[:1], rtol=1e-4)
    density = dq.log_predictive_density(model, X, Y, key=KEY, n_samples=4)
    expected = dq.log_predictive_density(in_evaluation, X, Y, key=KEY, n_samples=4)
    np.testing.assert_allclose(density, expected, rtol=1e-5)
    assert jax.tree.structure(model) == before


@pytest.mark.parametrize("name", small_profile(["NNX", "Equinox", "Sequential"], ["NNX", "Equinox"]))
def test_mc_dropout_keeps_dropout_on_and_batch_norm_in_evaluation(name):
    model = MODELS[name]()
    model.eval()

    def draws(mc_dropout, rows):
        return dq.predict_vi_uq(model, X[:rows], key=KEY, n_samples=30, mc_dropout=mc_dropout).epistemic_var[0]

    assert (draws(True, 16) > 3 * draws(False, 16)).all()
    if name != "Equinox":  # An Equinox module draws a mask per example, from a split of the key by the batch size.
        np.testing.assert_allclose(draws(True, 16), draws(True, 1), rtol=1e-4)


def test_mc_dropout_is_refused_if_one_argument_sets_both_modes():
    """A Linen module with `train` alone would use the statistics of the batch."""
    with pytest.raises(ValueError, match="use_running_average"):
        probs(MODELS["Linen"](), X, mc_dropout=True)


def test_the_validation_score_is_that_of_evaluation_mode():
    options = {"key": KEY, "epochs": 2, "batch_size": 8, "validation_data": (X, Y), "optimizer": optax.adam(1e-2)}
    result = dq.fit(sequential(), X, Y, **options)
    score_key = jax.random.split(KEY)[1]
    model = result.model
    model.eval()
    expected = -jnp.mean(dq.log_predictive_density(model, X, Y, key=score_key, n_samples=10))
    np.testing.assert_allclose(result.history["val_nll"][-1], expected, rtol=1e-5)


@every_model
def test_training_uses_the_mode_of_the_model(name):
    model = MODELS[name]()
    model.train()
    options = {"key": KEY, "num_data": 16, "log_likelihood": dq.Categorical()}
    loss = jax.jit(lambda model: dq.negative_elbo(model, X, Y, **options)[0])
    in_training = loss(model)
    model.eval()
    assert not np.allclose(in_training, loss(model))


@pytest.mark.parametrize("make", [nnx_net, linen_net, equinox_net], ids=["NNX", "Linen", "Equinox"])
def test_what_is_frozen_is_always_in_evaluation_mode(make):
    model = dq.bayesianize(make(), where="*last*" if make is not linen_net else "Dense_1.*", rest="frozen")
    model.train()
    options = {"key": KEY, "num_data": 16, "log_likelihood": dq.Categorical()}
    nll = jax.jit(lambda model, x, y: dq.negative_elbo(model, x, y, **options)[1].nll)
    rows = [nll(model, x, y) for x, y in ((X[:1], Y[:1]), (X[1:2], Y[1:2]))]
    both = nll(model, X[:2], Y[:2])
    np.testing.assert_allclose(both, np.mean(rows), rtol=1e-5)


class TakesItsMode(nnx.Module):
    """A module that takes its mode and its streams as arguments of the call."""

    def __init__(self, rngs):
        self.linear, self.dropout = nnx.Linear(3, 2, rngs=rngs), nnx.Dropout(0.5)

    def __call__(self, x, *, deterministic: bool, rngs=None):
        return self.dropout(self.linear(x), deterministic=deterministic, rngs=rngs)


def test_modules_that_take_deterministic_and_rngs_are_supported():
    model = dq.bayesianize(TakesItsMode(nnx.Rngs(0)), sigma=1e-6, likelihood=dq.Categorical())
    first, second = (model(X, key=jax.random.key(i)) for i in (0, 1))
    assert (first == 0).any()
    assert (first != second).any()
    model.eval()
    np.testing.assert_allclose(model(X, key=KEY), model(X), atol=1e-4)
    assert float(dq.predict_vi_uq(model, X, key=KEY, n_samples=4).epistemic_var.max()) < 1e-6


def frozen_trunk():
    return dq.bayesianize(nnx_net(), where="last.*", rest="frozen", likelihood=dq.Categorical())


def with_array_prior():
    return dq.BayesByBackpropMLP(
        3, (4,), 2, prior=dq.GaussianPrior(0.0, jnp.array(0.5)), likelihood=dq.Categorical(), rngs=nnx.Rngs(0)
    )


@pytest.mark.parametrize(
    "make",
    [frozen_trunk, lambda: dq.moped(nnx_net(), likelihood=dq.Categorical()), sequential, with_array_prior],
    ids=["frozen trunk", "prior centre", "BatchNorm statistics", "array prior"],
)
def test_a_gradient_of_the_whole_model_is_zero_for_what_is_not_trained(make):
    """A loop that differentiates the whole model must not move frozen weights, prior centres or array priors."""
    model = make()
    model.eval()

    def loss(model):
        return dq.negative_elbo(model, X, Y, key=KEY, num_data=16)[0]

    grads = jax.jit(jax.grad(loss, allow_int=True))(model)
    trained = {path for path, _ in nnx.to_flat_state(nnx.state(model, nnx.Param))}
    moved = {
        path
        for path, leaf in nnx.to_flat_state(nnx.state(grads))
        if np.any(
            np.asarray(leaf[...] if hasattr(leaf[...], "dtype") and leaf[...].dtype != jax.dtypes.float0 else 0.0) != 0
        )
    }
    assert moved
    assert moved <= trained
