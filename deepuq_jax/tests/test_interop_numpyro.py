"""Posteriors in NumPyro's guides, held against NumPyro's own ELBO."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax.interop import from_numpyro, to_numpyro

X = jnp.linspace(-1, 1, 16)[:, None]
Y = X**3
MODEL = dq.BayesByBackpropMLP(
    1, (4,), 1, likelihood=dq.Gaussian(0.3), prior=dq.GaussianPrior(0.1, 0.5), rngs=nnx.Rngs(0)
)


@pytest.fixture(scope="module")
def numpyro():
    return pytest.importorskip("numpyro")


def network_of(numpyro):
    """Return the network of `MODEL` as a model of NumPyro."""
    shapes = {name.removesuffix("_auto_loc"): array.shape for name, array in to_numpyro(MODEL).items() if "loc" in name}

    def network(x, y=None):
        normal = numpyro.distributions.Normal
        weights = {
            name: numpyro.sample(name, normal(0.1, 0.5).expand(shape).to_event(len(shape)))
            for name, shape in shapes.items()
        }
        hidden = jax.nn.relu(x @ weights["layers.0.kernel"] + weights["layers.0.bias"][None])
        mean = hidden @ weights["layers.2.kernel"] + weights["layers.2.bias"][None]
        if y is not None:
            numpyro.sample("y", normal(mean, 0.3).to_event(2), obs=y)

    return network


@pytest.mark.slow
def test_a_posterior_trains_on_in_numpyro_and_comes_back(numpyro):
    from numpyro.infer import SVI, TraceMeanField_ELBO
    from numpyro.infer.autoguide import AutoNormal

    network = network_of(numpyro)
    guide, mean_field = AutoNormal(network), TraceMeanField_ELBO()
    svi = SVI(network, guide, numpyro.optim.Adam(1e-2), mean_field)
    state = svi.init(jax.random.key(0), X, Y, init_params=to_numpyro(MODEL))
    for name, array in to_numpyro(MODEL).items():
        np.testing.assert_allclose(svi.get_params(state)[name], array, rtol=1e-5)
    assert_equal_elbo(numpyro, MODEL, network, guide, svi.get_params(state))
    update = jax.jit(svi.update)
    for _ in range(3):
        state, _ = update(state, X, Y)
    trained = from_numpyro(MODEL, svi.get_params(state))
    assert float(abs(trained.layers[0].kernel_posterior.mu - MODEL.layers[0].kernel_posterior.mu).max()) > 0.02
    assert_equal_elbo(numpyro, trained, network, guide, svi.get_params(state))


def assert_equal_elbo(numpyro, model, network, guide, params):
    """Compare KL, and log likelihood at NumPyro's own draw, in nats."""
    key = jax.random.key(1)
    loss = jax.jit(lambda params, *data: numpyro.infer.TraceMeanField_ELBO().loss(key, params, network, guide, *data))
    np.testing.assert_allclose(model.kl(), loss(params, X), rtol=1e-5)
    _, guide_key = jax.random.split(key)
    seeded = numpyro.handlers.seed(numpyro.handlers.substitute(guide, params), guide_key)
    weights = {name: site["value"] for name, site in numpyro.handlers.trace(seeded).get_trace(X, Y).items()}
    at_draw = {name: weights[name.removesuffix("_auto_loc")] for name in to_numpyro(model) if "loc" in name}
    outputs = from_numpyro(model, params | at_draw)(X)
    log_likelihood = dq.Gaussian(0.3).log_prob(outputs, Y).sum()
    np.testing.assert_allclose(model.kl() - log_likelihood, loss(params, X, Y), rtol=1e-5)


def models():
    net = nnx.Sequential(nnx.Linear(1, 4, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(4, 1, rngs=nnx.Rngs(1)))
    regressor = dq.HomoscedasticBayesByBackpropRegressor(1, (4,), rngs=nnx.Rngs(2))
    return {"mlp": MODEL, "net": dq.bayesianize(net, sigma=0.1), "standardized": dq.Standardized(regressor, X, Y)}


@pytest.mark.parametrize("name", models())
def test_a_round_trip_keeps_the_parameters(name):
    model = models()[name]
    params = {key: 1.5 * array for key, array in to_numpyro(model, scope="net/", prefix="q").items()}
    other = from_numpyro(model, params, scope="net/", prefix="q")
    for key, array in to_numpyro(other, scope="net/", prefix="q").items():
        np.testing.assert_allclose(array, params[key], rtol=1e-5)
    assert jax.tree.structure(dq.partition(other)) == jax.tree.structure(dq.partition(model))
    assert all(to_numpyro(model)[key].dtype == array.dtype for key, array in to_numpyro(other).items())


def test_the_sites_are_those_of_a_random_module(numpyro):
    from numpyro.contrib.module import random_nnx_module

    net = nnx.Sequential(nnx.Linear(1, 4, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(4, 1, rngs=nnx.Rngs(1)))
    seeded = numpyro.handlers.seed(
        lambda: random_nnx_module("net", net, numpyro.distributions.Normal()), jax.random.key(0)
    )
    trace = numpyro.handlers.trace(seeded).get_trace()
    sites = {name for name, site in trace.items() if site["type"] == "sample"}
    params = to_numpyro(dq.bayesianize(net), scope="net/")
    assert {name.removesuffix("_auto_loc") for name in params if name.endswith("loc")} == sites


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"layers.0.bias_auto_loc": np.ones(3)}, ValueError, "finite and of shape"),
        ({"layers.0.bias_auto_loc": np.full(4, np.nan)}, ValueError, "finite and of shape"),
        ({"layers.0.bias_auto_scale": np.zeros(4)}, ValueError, "above zero"),
        ({"layers.0.bias_auto_loc": [1.0] * 4}, TypeError, "layers.0.bias_auto_loc"),
        ({"noise_auto_loc": np.ones(())}, ValueError, "leave the other sites out"),
    ],
)
def test_wrong_parameters_are_refused_by_name(change, error, message):
    with pytest.raises(error, match=message):
        from_numpyro(MODEL, to_numpyro(MODEL) | change)


def test_missing_sites_and_pruned_weights_are_refused():
    with pytest.raises(ValueError, match=r"to have net/layers.0.kernel_auto_loc"):
        from_numpyro(MODEL, to_numpyro(MODEL), scope="net/")
    with pytest.raises(TypeError, match="to be a mapping"):
        from_numpyro(MODEL, [1.0])
    with pytest.raises(ValueError, match="no pruned weights"):
        to_numpyro(dq.prune(MODEL, 0.5))
    with pytest.raises(TypeError, match="model"):
        to_numpyro(nnx.Linear(1, 1, rngs=nnx.Rngs(0)))
