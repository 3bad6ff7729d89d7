"""Flax networks and plain functions as Bayesian models."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import deepuq_jax as dq


class Net(nnx.Module):
    """A network with weights, statistics, dropout and, if `tied`, a layer that is used twice."""

    def __init__(self, rngs, *, rate=0.0, tied=False):
        self.first = nnx.Linear(3, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)
        self.square = nnx.Linear(4, 4, rngs=rngs)
        self.again = self.square if tied else nnx.Linear(4, 4, rngs=rngs)

    def __call__(self, x):
        h = self.norm(nnx.relu(self.first(x)))
        return self.again(self.dropout(self.square(h)))


def inputs():
    return jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)), jnp.float32)


def mlp_apply(params, x):
    return jnp.tanh(x @ params["w"]) @ params["v"]


def mlp_params():
    rng = np.random.default_rng(1)
    return {
        "w": jnp.asarray(rng.normal(size=(3, 5)), jnp.float32),
        "v": jnp.asarray(rng.normal(size=(5, 1)), jnp.float32),
    }


def test_means_give_the_nets_own_outputs():
    net = Net(nnx.Rngs(0))
    net.eval()
    np.testing.assert_array_equal(dq.bayesianize(net)(inputs()), net(inputs()))
    np.testing.assert_array_equal(
        dq.bayesianize((mlp_apply, mlp_params()))(inputs()), mlp_apply(mlp_params(), inputs())
    )


def test_vanishing_sigma_gives_the_nets_own_outputs(key):
    net = Net(nnx.Rngs(0))
    net.eval()
    model = dq.bayesianize(net, sigma=1e-12)
    outputs = jax.jit(lambda model, x: model(x, key=key))(model, inputs())
    np.testing.assert_allclose(outputs, net(inputs()), rtol=1e-6)


def test_a_draw_is_the_net_at_drawn_parameters(key):
    model = dq.bayesianize((mlp_apply, mlp_params()), sigma=0.3)
    noise = model.draw_noise(inputs(), key=key)
    expected = jax.tree.map(lambda p, n: p + 0.3 * n, mlp_params(), noise)
    np.testing.assert_allclose(model(inputs(), key=key), mlp_apply(expected, inputs()), rtol=1e-5)
    np.testing.assert_array_equal(model(inputs(), noise=noise), model(inputs(), key=key))
    np.testing.assert_allclose(dq.draw(model, key=key)(inputs()), model(inputs(), key=key), rtol=1e-6)


def test_kl_is_over_the_params_alone():
    net = Net(nnx.Rngs(0))
    model = dq.bayesianize(net, sigma=0.2, prior=dq.GaussianPrior(0.0, 0.5))
    mus = [np.asarray(leaf, float).ravel() for leaf in jax.tree.leaves(nnx.state(net, nnx.Param))]
    mu = np.concatenate(mus)
    expected = (np.log(0.5 / 0.2) + (0.04 + mu**2) / 0.5 - 0.5).sum()
    np.testing.assert_allclose(model.kl(), expected, rtol=1e-5)


def test_tied_layers_are_one_posterior():
    tied = dq.bayesianize(Net(nnx.Rngs(0), tied=True))
    untied = dq.bayesianize(Net(nnx.Rngs(0)))
    assert len(jax.tree.leaves(tied.posterior)) == len(jax.tree.leaves(untied.posterior)) - 4
    jitted = jax.jit(lambda m: m.kl())(tied)
    np.testing.assert_allclose(jitted, tied.kl(), rtol=1e-6)


@pytest.mark.slow
def test_the_net_is_left_as_it_was(key):
    net = Net(nnx.Rngs(0))
    before = [np.array(leaf) for leaf in jax.tree.leaves(nnx.state(net, nnx.Not(nnx.RngState)))]
    model = dq.bayesianize(net)
    model(inputs(), key=key)
    objective = dq.ELBO(log_likelihood=dq.Gaussian())
    dq.fit(model, inputs(), jnp.zeros((6, 4)), key=key, objective=objective, epochs=2)
    after = jax.tree.leaves(nnx.state(net, nnx.Not(nnx.RngState)))
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.slow
def test_a_step_stores_batch_statistics_without_training_them(key):
    model = dq.bayesianize(Net(nnx.Rngs(0)))
    x, y = inputs(), jnp.zeros((6, 4))
    optimizer = optax.sgd(0.1)
    state = dq.TrainState.create(model, optimizer)
    objective = dq.ELBO(6, log_likelihood=dq.Gaussian())

    @jax.jit
    def take_step(state):
        return dq.train_step(state, x, y, key=key, objective=objective, optimizer=optimizer)[0]

    new = take_step(state)
    _, carried = model.call_with_state(x, key=jax.random.fold_in(key, 0))
    expected, actual = carried["carried"]["norm"]["mean"][...], new.model.carried["norm"]["mean"][...]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    assert not np.allclose(actual, model.carried["norm"]["mean"][...])
    net = Net(nnx.Rngs(0))
    net.eval()
    model_eval = dq.bayesianize(net)
    state = dq.TrainState.create(model_eval, optimizer)
    new = take_step(state)
    np.testing.assert_array_equal(new.model.carried["norm"]["mean"][...], model_eval.carried["norm"]["mean"][...])


@pytest.mark.slow
def test_dropout_depends_on_the_key_alone(key):
    model = dq.bayesianize(Net(nnx.Rngs(0), rate=0.5), sigma=1e-12)
    call = jax.jit(lambda m, k: m(inputs(), key=k))
    np.testing.assert_array_equal(call(model, key), call(model, key))
    assert not np.allclose(call(model, key), call(model, jax.random.key(1)))
    state = dq.TrainState.create(model, optax.sgd(0.1))
    objective = dq.ELBO(6, log_likelihood=dq.Gaussian())

    def step(s, k):
        return dq.train_step(s, inputs(), jnp.zeros((6, 4)), key=k, objective=objective, optimizer=optax.sgd(0.1))

    state, _ = jax.lax.scan(step, state, jax.random.split(key, 3))
    assert int(state.step) == 3


def test_low_precision_nets_keep_their_dtype_and_get_float32_posteriors(key):
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), mlp_params())
    model = dq.bayesianize((mlp_apply, params))
    assert model(inputs().astype(jnp.bfloat16), key=key).dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(model.posterior)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: dq.bayesianize(mlp_apply), TypeError, "Expected net"),
        (lambda: dq.bayesianize((mlp_params(), mlp_apply)), TypeError, "Expected net"),
        (lambda: dq.bayesianize((mlp_apply, {})), ValueError, "to have parameters"),
        (lambda: dq.bayesianize((mlp_apply, {"w": jnp.zeros(2, int)})), TypeError, "floating array"),
        (lambda: dq.bayesianize((mlp_apply, mlp_params()), sigma=0.0), ValueError, "Expected sigma"),
        (lambda: dq.bayesianize((mlp_apply, mlp_params()), prior=1.0), TypeError, "Expected prior"),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
