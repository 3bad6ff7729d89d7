"""Choices of `bayesianize` and `moped`: which weights are Bayesian, how the rest is treated, and the scales."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import deepuq_jax as dq

pytest.importorskip("equinox")

import equinox as eqx

from deepuq_jax.tests.networks import NETWORKS, Block, ConvNet, LinenNet, function, function_params, rows
from deepuq_jax.tests.test_any_network import ADAM, arrays, build, differ, one_step

# Together, these tests take too long for `make check`.
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def rank_promotion_of_the_networks():
    """Allow rank promotion, since Linen and Equinox broadcast biases."""
    with jax.numpy_rank_promotion("allow"):
        yield


PATHS = {
    "all": {"conv.kernel", "conv.bias", "norm.scale", "norm.bias", "head.kernel", "head.bias"},
    "kernels": {"conv.kernel", "head.kernel"},
    "head.*": {"head.kernel", "head.bias"},
    "*.bias": {"conv.bias", "norm.bias", "head.bias"},
    nnx.Linear: {"head.kernel", "head.bias"},
    (nnx.Conv, nnx.BatchNorm): {"conv.kernel", "conv.bias", "norm.scale", "norm.bias"},
}


# The ids are explicit: pytest-xdist needs the same ids in all workers, and the order of a set differs between them.
@pytest.mark.parametrize(("where", "paths"), PATHS.items(), ids=["all", "kernels", "last", "glob", "type", "types"])
def test_which_parameters_are_bayesian(where, paths):
    model = dq.bayesianize(ConvNet(), where=where, sigma=0.1, prior=dq.GaussianPrior(0.0, 0.3))
    assert set(model.bayesian_paths()) == paths
    by_function = dq.bayesianize(ConvNet(), where=lambda path, leaf: path in paths)
    assert by_function.bayesian_paths() == model.bayesian_paths()
    net = nnx.to_flat_state(nnx.state(ConvNet(), nnx.Param))
    mu = np.concatenate([np.ravel(leaf[...]) for path, leaf in net if ".".join(path) in paths])
    expected = (np.log(0.3 / 0.1) + (0.01 + mu.astype(float) ** 2) / 0.18 - 0.5).sum()
    np.testing.assert_allclose(model.kl(), expected, rtol=1e-5)


def test_layers_are_found_in_order_and_by_type_in_every_library():
    block = dq.bayesianize(Block(), where="kernels")
    kernels = [f"attention.{part}.kernel" for part in ("query", "key", "value", "out")]
    cell = ["cell.cell.dense_h.kernel", "cell.cell.dense_i.kernel"]
    assert sorted(block.bayesian_paths()) == sorted([*kernels, *cell, "embed.embedding", "mlp.kernel"])
    net = nnx.Sequential(nnx.Linear(3, 4, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(4, 2, rngs=nnx.Rngs(0)))
    assert dq.bayesianize(net, where="last_layer").bayesian_paths() == ["layers.2.bias", "layers.2.kernel"]
    in_a_list = dq.bayesianize(nnx.clone(net), where="last_layer")
    assert in_a_list.bayesian_paths() == ["layers.2.bias", "layers.2.kernel"]
    # NNX sorts the attributes of a module whenever it splits it, so which was defined last is unknown.
    with pytest.raises(ValueError, match=r"Expected where to name the layer, as in 'head\.\*', .* no lasting order"):
        dq.bayesianize(ConvNet(), where="last_layer")
    mlp = NETWORKS["Equinox MLP"]()[0]
    assert dq.bayesianize(mlp, where="last_layer").bayesian_paths() == ["layers.1.weight", "layers.1.bias"]
    stateful = NETWORKS["Equinox with state"]()[0]
    by_type = dq.bayesianize(stateful, where=eqx.nn.Linear)
    assert by_type.bayesian_paths() == ["first.weight", "first.bias", "last.weight", "last.bias"]
    pair = NETWORKS["Linen"]()[0]
    assert dq.bayesianize(pair, where="Dense_1.*").bayesian_paths() == ["Dense_1.bias", "Dense_1.kernel"]
    assert dq.bayesianize((pair[0].apply, pair[1]), where="kernels").bayesian_paths() == [
        "Dense_0.kernel", "Dense_1.kernel"
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rest"),
    [
        ("Equinox MLP", "trained"),
        ("function", "frozen"),
        pytest.param("Equinox MLP", "frozen", marks=pytest.mark.long),
        pytest.param("function", "trained", marks=pytest.mark.long),
    ],
)
def test_the_rest_is_trained_without_a_prior_or_frozen(name, rest, key):
    model, own, x = build(name, where="kernels" if name != "function" else "[wv]", rest=rest, sigma=1e-12)
    np.testing.assert_allclose(model(x, key=key), own(x), rtol=1e-5, atol=1e-6)
    y = jnp.ones(own(x).shape)
    grads = nnx.grad(lambda m: m.kl())(model)
    if rest == "trained":
        assert not any(leaf.any() for leaf in arrays(grads["rest"]))
    sizes = [sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in (model.posterior, model.rest)]
    trained = sum(leaf.size for leaf in jax.tree.leaves(dq.partition(model)[0]))
    assert trained == (sum(sizes) if rest == "trained" else sizes[0])
    state = one_step(model, x, y, key)
    assert differ(arrays(model.posterior), arrays(state.model.posterior))
    assert differ(arrays(model.rest), arrays(state.model.rest)) == (rest == "trained")


def test_sigma_by_number_by_function_by_leaf_and_relative():
    params = function_params()
    by_tree = dq.bayesianize((function, params), sigma={"w": 0.1, "v": 0.2, "b": 0.3})
    by_function = dq.bayesianize((function, params), sigma=lambda path, leaf: {"w": 0.1, "v": 0.2, "b": 0.3}[path])
    part = dq.bayesianize((function, params), where="w", sigma={"w": 0.1, "v": 0.2, "b": 0.3})
    for model in (by_tree, by_function, part):
        np.testing.assert_allclose(model.posterior.sigma["w"], 0.1, rtol=1e-5)
    np.testing.assert_allclose(by_tree.posterior.sigma["b"], 0.3, rtol=1e-5)
    params["b"] = jnp.array([0.0, 2.0])
    whole = dq.bayesianize((function, params), sigma=dq.relative(0.1, floor=1e-2)).posterior.sigma
    np.testing.assert_allclose(whole["w"], 0.1 * np.sqrt(np.mean(np.square(params["w"]))), rtol=1e-5)
    each = dq.bayesianize((function, params), sigma=dq.relative(0.1, each=True, floor=1e-2)).posterior.sigma
    np.testing.assert_allclose(each["b"], [0.01, 0.2], rtol=1e-5)
    np.testing.assert_allclose(each["w"], np.maximum(0.1 * np.abs(params["w"]), 0.01), rtol=1e-5)


@pytest.mark.parametrize("prior", [dq.GaussianPrior(sigma=1.0), dq.GaussianPrior(0.5, jnp.asarray(2.0))])
def test_moped_keeps_the_predictions_and_centres_its_prior_on_the_weights(prior):
    model = dq.moped((function, function_params()), delta=0.1, prior=prior, likelihood=dq.Gaussian(0.5))
    np.testing.assert_array_equal(model(rows()), function(function_params(), rows()))
    mu, scale = prior.mu, float(prior.sigma)
    w = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(function_params())]).astype(float)
    sigma = np.maximum(0.1 * np.abs(w), 1e-3)
    # The posterior of the deviation w - w0 has mean 0, and the prior of the deviation has mean mu.
    expected = (np.log(scale / sigma) + (sigma**2 + mu**2) / (2 * scale**2) - 0.5).sum()
    np.testing.assert_allclose(model.kl(), expected, rtol=1e-4)
    params, _ = dq.partition(model)
    assert len(jax.tree.leaves(params)) == 6  # mu and rho of three tensors; the centre of the prior is carried


def test_moped_trains_the_posterior_and_carries_the_centre(key):
    model = dq.moped((function, function_params()), delta=0.1, likelihood=dq.Gaussian(0.5))
    y = jnp.ones((4, 2))
    trained = dq.fit(model, rows(), y, key=key, epochs=30, optimizer=ADAM).model
    before, after = (float(dq.negative_elbo(m, rows(), y, key=key, num_data=4)[0]) for m in (model, trained))
    assert after < before
    assert not differ(arrays(model.centre), arrays(trained.centre))


def test_moped_where_the_prior_has_no_closed_form(key):
    class Opaque:
        def log_prob(self, w):
            return dq.GaussianPrior(sigma=1.0).log_prob(w)

    net = (function, function_params())
    opaque, closed = dq.moped(net, prior=Opaque()), dq.moped(net)
    estimates = jax.jit(jax.vmap(opaque.kl))(jax.random.split(key, 500))
    error = 5 * float(estimates.std()) / np.sqrt(500)
    assert abs(float(estimates.mean()) - float(closed.kl())) < error


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: dq.bayesianize(ConvNet(), where="*.weight"), ValueError, "to choose one of .*conv.bias"),
        (lambda: dq.bayesianize(ConvNet(), where=3), TypeError, "Expected where to be 'all', 'kernels'"),
        (lambda: dq.bayesianize(ConvNet(), rest="dropped"), ValueError, "Expected rest"),
        (lambda: dq.bayesianize((function, function_params()), where="last_layer"), ValueError, "to name the layer"),
        (lambda: dq.bayesianize((function, function_params()), where=nnx.Linear), ValueError, "by path"),
        (lambda: dq.bayesianize((LinenNet(), {"batch_stats": {}})), TypeError, 'collection "params"'),
        (lambda: dq.bayesianize(NETWORKS["Equinox with state"]()[0][0]), ValueError, "make_with_state"),
        (lambda: dq.relative(0.0), ValueError, "Expected factor"),
        (lambda: dq.relative(0.1, floor=-1.0), ValueError, "Expected floor"),
        (lambda: dq.moped(ConvNet(), delta=0.0), ValueError, "Expected"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
