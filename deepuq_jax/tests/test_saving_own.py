"""Files of users' own classes and networks, which are loaded with `like` or registered."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax.tests.networks import NETWORKS, STATEFUL
from deepuq_jax.tests.profiles import small_profile
from deepuq_jax.tests.saved_models import OwnNet, flax_stack, in_mode, linear, round_trip, same


@dq.saving.register(name="tests.RegisteredNet", settings=("width", "rate"))
class RegisteredNet(OwnNet):
    """A class that files may hold."""


@dq.saving.register(name="tests.HalfNormal")
@jax.tree_util.register_pytree_with_keys_class
@dataclass(frozen=True)
class OwnPrior(dq.priors._numbers.Numbers, dq.Prior):
    """A prior whose scale is a number or an array."""

    SCALES = ("scale",)
    scale: object = 1.0

    def log_prob(self, w):
        return -0.5 * jnp.sum(jnp.square(w / self.scale) + 2 * jnp.log(self.scale))


@dq.saving.register(name="tests.Plain")
@dataclass(frozen=True)
class PlainPrior:
    """A prior that is no pytree."""

    scale: float

    def log_prob(self, w):
        return -0.5 * jnp.sum(jnp.square(w / self.scale))


@dq.saving.register(name="tests.Own")
@dataclass(frozen=True)
class OwnLikelihood(dq.Likelihood):
    """A likelihood with a number and a tuple."""

    scale: float = 1.0
    sizes: tuple = (1, (2, 3))

    def log_prob(self, outputs, y):
        return -jnp.sum(jnp.square(outputs - y), axis=-1) / self.scale


@dq.saving.register(name="tests.softsign")
def softsign(x):
    return x / (1 + jnp.abs(x))


class HiddenPrior:
    """A prior that is not registered."""

    def log_prob(self, w):
        return -jnp.sum(jnp.square(w))


@pytest.mark.slow
@pytest.mark.parametrize("name", small_profile(NETWORKS, [*STATEFUL, "function"]))
def test_a_bayesian_network_comes_back_by_like(name, tmp_path):
    net, _, _ = NETWORKS[name]()
    model, like = dq.moped(net), in_mode(dq.moped(net, delta=0.5), True)
    if name in STATEFUL:
        model.train()
    assert same(round_trip(model, tmp_path / "model", like=like), model)
    model.eval()
    assert same(round_trip(model, tmp_path / "model", like=in_mode(like, False)), model)
    with pytest.raises(ValueError, match=r"Expected like for a file with a class .* that is not registered"):
        dq.load(tmp_path / "model")


def test_an_own_class_comes_back_by_like_with_its_mode_and_streams(tmp_path):
    model, like = in_mode(OwnNet(rngs=nnx.Rngs(0)), True), OwnNet(rngs=nnx.Rngs(1))
    before = nnx.state(like)
    assert same(round_trip(model, tmp_path / "model", like=like), model)
    assert same(nnx.state(like), before)


def test_own_parts_of_a_model_of_the_library_come_back_by_like(tmp_path):
    def build(seed):
        net = OwnNet(rngs=nnx.Rngs(seed))
        return dq.Sequential(nnx.Linear(4, 4, rngs=nnx.Rngs(seed)), net, likelihood=dq.Gaussian(0.1))

    model = build(0)
    model.layers[1].dropout.deterministic = True
    assert same(round_trip(model, tmp_path / "model", like=build(1)), model)


def test_a_pytree_of_the_user_comes_back_by_like(tmp_path):
    @jax.tree_util.register_dataclass
    @dataclass
    class Model:
        weights: dq.MeanField
        scale: float
        table: np.ndarray

        def __call__(self, x, *, key=None):
            return x * self.scale

        def kl(self, key=None):
            return self.weights.kl(dq.GaussianPrior())

    def build(value):
        weights = dq.MeanField.init({"w": jnp.full((2, 3), value)})
        return Model(weights, value, np.arange(3, dtype=np.int64) * int(value))

    loaded = round_trip(build(2.0), tmp_path / "model", like=build(1.0))
    assert loaded.scale == 2.0
    assert isinstance(loaded.scale, float)
    assert loaded.table.dtype == np.int64
    np.testing.assert_array_equal(loaded.table, [0, 2, 4])
    np.testing.assert_array_equal(loaded.weights.mu["w"], np.full((2, 3), 2.0))


@pytest.mark.parametrize(
    "build",
    [
        lambda: in_mode(RegisteredNet(4, 0.3, rngs=nnx.Rngs(0)), True),
        lambda: dq.Sequential(linear(), RegisteredNet(2, rngs=nnx.Rngs(0)), likelihood=OwnLikelihood(2.0, (5,))),
        lambda: linear(prior=OwnPrior(2.0)),
        lambda: linear(prior=OwnPrior(jnp.ones(2))),
        lambda: linear(prior=PlainPrior(3.0)),
        lambda: dq.BayesByBackpropMLP(4, (2,), 2, activation=softsign, rngs=nnx.Rngs(0)),
        lambda: dq.LastLayerVariationalInference(softsign, 4, 2, likelihood=OwnLikelihood(), rngs=nnx.Rngs(0)),
    ],
    ids=["module", "in a stack", "prior", "prior with arrays", "opaque prior", "activation", "extractor"],
)
def test_registered_classes_come_back_without_like(build, tmp_path):
    model = build()
    assert same(round_trip(model, tmp_path / "model"), model)


def test_the_message_lists_every_difference_between_the_file_and_like(tmp_path):
    wide = dq.GaussianPrior(sigma=1.0)
    dq.save(tmp_path / "model", dq.Sequential(linear(prior=wide), RegisteredNet(2, rngs=nnx.Rngs(0))))
    prior = dq.GaussianPrior(sigma=0.1)
    like = dq.Sequential(linear(prior=prior, use_bias=False), RegisteredNet(2, 0.1, rngs=nnx.Rngs(0)))
    like.layers[1].layer = dq.BayesianLinear(2, 3, use_bias=False, rngs=nnx.Rngs(0))
    like.layers[1].extra = nnx.Param(jnp.zeros(()))
    with pytest.raises(ValueError, match="model to hold a model that can be loaded") as error:
        dq.load(tmp_path / "model", like=like)
    for part in (
        "members.0.prior.sigma is 1.0 in the file and 0.1 in the model",
        "members.0.use_bias is True in the file and False in the model",
        "members.1.rate is 0.5 in the file and 0.1 in the model",
        "layers.0.bias_posterior.mu is float32[2] in the file and missing in the model",
        "layers.1.layer.kernel_posterior.rho is float32[2, 2] in the file and float32[2, 3] in the model",
        "layers.1.extra is float32[] in the model and missing in the file",
    ):
        assert part in str(error.value)


def test_an_unregistered_prior_is_taken_from_like(tmp_path):
    dq.save(tmp_path / "model", linear(prior=HiddenPrior()))
    with pytest.raises(ValueError, match="got None, and 'HiddenPrior' in the file"):
        dq.load(tmp_path / "model")
    like = linear(prior=HiddenPrior())
    assert same(dq.load(tmp_path / "model", like=like), like)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: dq.BayesByBackpropMLP(4, (2,), 2, activation=lambda x: x, rngs=nnx.Rngs(0)),
            r"no unregistered function .* 'tanh', or register the function .* at activation",
        ),
        (lambda: dq.Sequential(linear(), likelihood=lambda outputs, y: y), "no unregistered function .* at likelihood"),
        (lambda: dq.Sequential(jnp.sinh, linear()), "no unregistered function .* at layers.0"),
    ],
    ids=["activation", "likelihood", "member"],
)
def test_unregistered_functions_are_refused(build, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        dq.save(tmp_path / "model", build())
    assert not list(tmp_path.iterdir())


def changed_members():
    model = dq.BayesByBackpropMLP(4, (2,), 2, rngs=nnx.Rngs(0))
    model.layers[1] = jnp.tanh
    model.layers.append(nnx.relu)
    return model


def changed_product():
    model = flax_stack()
    model.layers[3].layers[2].dot_general = jnp.dot
    return model


def changed_size():
    model = linear()
    model.kernel_posterior = linear(use_bias=False).kernel_posterior
    model.in_features = 5
    return model


def mixed_modes():
    model = OwnNet(rngs=nnx.Rngs(0))
    model.other = nnx.Dropout(0.1, deterministic=True, rngs=nnx.Rngs(0))
    return model


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (changed_members, "with the members that BayesByBackpropMLP builds"),
        (changed_product, r"these changes: layers.3.layers.2.dot_general is <PjitFunction"),
        (changed_size, r"weight_posterior.mu is float32\[2, 4\] in the file and float32\[2, 5\] in the model"),
        (mixed_modes, r"to be in one mode \(call its train\(\) or eval\(\)"),
    ],
    ids=["members", "settings", "sizes", "modes"],
)
def test_changes_by_hand_that_would_be_lost_are_refused(build, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        dq.save(tmp_path / "model", build())


def test_what_is_not_a_model_is_refused(tmp_path):
    with pytest.raises(TypeError, match="Expected model"):
        dq.save(tmp_path / "model", jnp.zeros(3))
    dq.save(tmp_path / "model", linear())
    with pytest.raises(TypeError, match="Expected model"):
        dq.load(tmp_path / "model", like="model")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: dq.saving.register(OwnNet), TypeError, "Expected settings to list"),
        (lambda: dq.saving.register(3), TypeError, "to be a class or a named function"),
        (lambda: dq.saving.register(HiddenPrior), TypeError, "a Flax NNX module, a dataclass or a function"),
        (lambda: dq.saving.register(softsign, settings=("a",)), TypeError, "to be None for a function"),
        (lambda: dq.saving.register(OwnNet, name="Linear", settings=()), ValueError, "names of the library"),
        (lambda: dq.saving.register(OwnNet, name="tests.softsign", settings=()), ValueError, "no other class"),
    ],
)
def test_registrations_that_cannot_work_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_class_may_be_registered_again_under_its_name():
    assert dq.saving.register(softsign, name="tests.softsign") is softsign
    name = "tests.Plain"
    assert dq.saving.register(PlainPrior, name=name) is PlainPrior
