"""Networks of every kind through `bayesianize`: the deterministic limit, carried state, chosen parameters.

Their scores on digits are those of the programs of docs/any-model.md.
"""

import equinox as eqx
import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy import signal
from sklearn.datasets import load_digits

import deepuq_jax as dq
from deepuq_jax.model.variables import unwrap


class ConvNet(nnx.Module):
    """Two convolutions with BatchNorm over 8 x 8 images."""

    def __init__(self, rngs):
        self.first = nnx.Conv(1, 8, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.second = nnx.Conv(8, 16, (3, 3), strides=2, rngs=rngs)
        self.head = nnx.Linear(16 * 16, 10, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.first(x.reshape(-1, 8, 8, 1))))
        return self.head(nnx.relu(self.second(x)).reshape(x.shape[0], -1))


class Block(nnx.Module):
    """A transformer block over the 8 rows of an image."""

    def __init__(self, rngs):
        self.embed = nnx.Linear(8, 16, rngs=rngs)
        self.norm = nnx.LayerNorm(16, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 16, decode=False, rngs=rngs)
        self.head = nnx.Linear(16 * 8, 10, rngs=rngs)

    def __call__(self, x):
        h = self.embed(x.reshape(-1, 8, 8))
        h = h + self.attention(self.norm(h))
        return self.head(nnx.relu(h).reshape(x.shape[0], -1))


class Recurrent(nnx.Module):
    """A recurrent cell over the 8 rows of an image."""

    def __init__(self, rngs):
        self.rnn = nnx.RNN(nnx.GRUCell(8, 16, rngs=rngs), rngs=rngs)
        self.head = nnx.Linear(16, 10, rngs=rngs)

    def __call__(self, x):
        return self.head(self.rnn(x.reshape(-1, 8, 8))[:, -1])


class LinenNet(linen.Module):
    """BatchNorm in the mode it is told."""

    train: bool = False

    @linen.compact
    def __call__(self, x):
        x = linen.BatchNorm(use_running_average=not self.train)(linen.Dense(32)(x))
        return linen.Dense(10)(linen.relu(x))


def conv_net():
    net = ConvNet(nnx.Rngs(0))
    net.eval()
    return net, net


def block():
    net = Block(nnx.Rngs(0))
    return net, net


def recurrent():
    net = Recurrent(nnx.Rngs(0))
    return net, net


def linen_net():
    net = LinenNet()
    variables = net.init(jax.random.key(0), jnp.ones((2, 64)))
    return (net, variables), lambda x: net.apply(variables, x)


def equinox_net():
    net = eqx.nn.MLP(64, 10, 32, 1, key=jax.random.key(0))
    return net, jax.vmap(net)


def function():
    params = {"kernel": 0.1 * jax.random.normal(jax.random.key(0), (64, 10)), "bias": jnp.zeros(10)}
    apply = lambda p, x: x @ p["kernel"] + p["bias"][None]
    return (apply, params), lambda x: apply(params, x)


NETS = [conv_net, block, recurrent, linen_net, equinox_net, function]
every_net = pytest.mark.parametrize("make", NETS, ids=lambda make: make.__name__)


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return (x / 16).astype(np.float32), y


@every_net
def test_vanishing_sigma_gives_the_network(make, digits, key):
    net, plain = make()
    x = jnp.asarray(digits[0][:16])
    model = dq.bayesianize(net, sigma=1e-9)
    for outputs in (model(x), model(x, key=key), dq.draw(model, key=key)(x)):
        np.testing.assert_allclose(outputs, plain(x), rtol=1e-5, atol=1e-5)


@every_net
def test_moped_keeps_the_predictions_and_its_kl_is_that_of_the_scales(make, digits):
    net, plain = make()
    x = jnp.asarray(digits[0][:16])
    model = dq.moped(net, delta=0.05)
    np.testing.assert_allclose(model(x), plain(x), rtol=1e-5, atol=1e-5)
    posterior = unwrap(model.posterior)
    at_zero = dq.MeanField(jax.tree.map(jnp.zeros_like, posterior.mu), posterior.rho)
    np.testing.assert_allclose(model.kl(), at_zero.kl(dq.GaussianPrior(sigma=1.0)), rtol=1e-5)


def test_batchnorm_statistics_are_updated_in_training_and_never_trained(digits):
    x, y = jnp.asarray(digits[0][:64]), jnp.asarray(digits[1][:64])
    adam = optax.adam(1e-3)
    for training in (True, False):
        net = ConvNet(nnx.Rngs(0))
        (net.train if training else net.eval)()
        model = dq.bayesianize(net, likelihood=dq.Categorical())
        params, before = dq.partition(model)
        assert not any("norm" in str(path) and "mean" in str(path) for path, _ in jax.tree.leaves_with_path(params))
        state = dq.TrainState.create(model, adam)
        state, _ = dq.train_step(state, x, y, key=jax.random.key(0), objective=dq.ELBO(64), optimizer=adam)
        after = dq.partition(state.model)[1]
        changed = any(
            not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
        )
        assert changed == training


def test_dropout_in_a_plain_sequential_follows_the_key(key):
    rngs = nnx.Rngs(0)
    net = dq.Sequential(nnx.Linear(4, 32, rngs=rngs), nnx.Dropout(0.5, rngs=rngs), dq.BayesianLinear(32, 2, rngs=rngs))
    x = jnp.ones((3, 4))
    result = dq.predict_vi_uq(net, x, key=key, n_samples=20)
    still = dq.Sequential(net.layers[0], net.layers[2])
    assert (result.epistemic_var > dq.predict_vi_uq(still, x, key=key, n_samples=20).epistemic_var).all()
    np.testing.assert_array_equal(result.mean, dq.predict_vi_uq(net, x, key=key, n_samples=20).mean)


@pytest.mark.parametrize(
    ("where", "paths"),
    [
        ("kernels", {"layers.0.kernel", "layers.2.kernel"}),
        ("last_layer", {"layers.2.bias", "layers.2.kernel"}),
        ("layers.0.*", {"layers.0.bias", "layers.0.kernel"}),
        (lambda path, leaf: leaf.size == 2, {"layers.2.bias"}),
    ],
)
@pytest.mark.parametrize("rest", ["trained", "frozen"])
def test_only_the_chosen_parameters_are_bayesian(where, paths, rest, key):
    net = nnx.Sequential(nnx.Linear(3, 4, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(4, 2, rngs=nnx.Rngs(1)))
    model = dq.bayesianize(net, where=where, rest=rest)
    assert set(model.bayesian_paths()) == paths
    trained = sum(leaf.size for leaf in jax.tree.leaves(dq.partition(model)[0]))
    bayesian = sum(leaf.size for leaf in jax.tree.leaves(unwrap(model.posterior).mu))
    everything = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(net, nnx.Param)))
    assert trained == (everything + bayesian if rest == "trained" else 2 * bayesian)
    assert model(jnp.ones((5, 3)), key=key).shape == (5, 2)


@pytest.mark.parametrize(("where", "error"), [("no.such.path", ValueError), (3, TypeError)])
def test_a_choice_of_nothing_is_refused(where, error):
    with pytest.raises(error, match="Expected"):
        dq.bayesianize(nnx.Linear(3, 2, rngs=nnx.Rngs(0)), where=where)


def test_conv_is_the_convolution_of_scipy(key):
    layer = dq.BayesianConv(1, 1, (3, 3), padding="VALID", rngs=nnx.Rngs(0))
    x = jax.random.normal(key, (2, 6, 7, 1))
    kernel = np.asarray(unwrap(layer.kernel_posterior).mu)[:, :, 0, 0]
    expected = [signal.correlate2d(np.asarray(image[..., 0]), kernel, mode="valid") for image in x]
    np.testing.assert_allclose(layer(x)[..., 0], expected, rtol=1e-5, atol=1e-5)
