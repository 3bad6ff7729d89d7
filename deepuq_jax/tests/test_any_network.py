"""Networks of every library as Bayesian models: the limit of no noise, state, dropout, and last layers.

The programs of docs/any-model.md, which test_any_model.py runs, show that such models learn.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import deepuq_jax as dq

pytest.importorskip("equinox")


from deepuq_jax.tests.networks import NETWORKS, STATEFUL, ConvNet, rows
from deepuq_jax.tests.profiles import small_profile

# Together, these tests take too long for `make check`.
pytestmark = pytest.mark.slow

ADAM = optax.adam(1e-2)
every_network = pytest.mark.parametrize("name", NETWORKS)
# The test of the limit of no noise runs every network. In the others, `make test` runs one network of each library.
every_library = pytest.mark.parametrize("name", small_profile(NETWORKS, [*STATEFUL, "function"]))
stateful = pytest.mark.parametrize("name", STATEFUL)


@pytest.fixture(autouse=True)
def rank_promotion_of_the_networks():
    """Allow rank promotion, since Linen and Equinox broadcast biases."""
    with jax.numpy_rank_promotion("allow"):
        yield


def build(name, mode="eval", **options):
    net, own, x = NETWORKS[name]()
    model = dq.bayesianize(net, likelihood=dq.Gaussian(), **options)
    getattr(model, mode)()
    return model, own, x


def arrays(tree):
    def is_key(leaf):
        return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)

    return [np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf) for leaf in jax.tree.leaves(tree)]


def statistics(model):
    """Return the arrays that a model carries, without its random streams."""
    carried = nnx.state(model, nnx.Not(nnx.Any(nnx.Param, nnx.RngState)))
    return arrays(carried)


def differ(before, after):
    return any(not np.array_equal(old, new) for old, new in zip(before, after, strict=True))


@jax.jit
def one_step(model, x, y, key):
    """Take one training step, compiled as a whole."""
    state = dq.TrainState.create(model, ADAM)
    return dq.train_step(state, x, y, key=key, objective=dq.ELBO(4), optimizer=ADAM)[0]


@every_network
def test_vanishing_sigma_gives_the_deterministic_network(name, key):
    model, own, x = build(name, sigma=1e-12)
    for output in jax.jit(lambda model, x: (model(x, key=key), model(x)))(model, x):
        np.testing.assert_allclose(output, own(x), rtol=1e-5, atol=1e-6)


@every_library
def test_a_draw_agrees_with_calls_at_its_key_and_at_its_noise(name, key):
    model, own, x = build(name, sigma=0.3)
    drawn = jax.jit(lambda model, x: model(x, key=key))(model, x)
    assert not np.allclose(drawn, own(x), atol=1e-2)
    of_noise = jax.jit(lambda model, x: model(x, noise=model.draw_noise(x, key=key)))(model, x)
    np.testing.assert_array_equal(of_noise, drawn)

    @jax.jit
    def twice(model, x):
        fixed = dq.draw(model, key=key)
        return [fixed(x, key=jax.random.key(5)) for _ in range(2)], fixed.kl()

    outputs, kl = twice(model, x)
    for output in outputs:
        np.testing.assert_allclose(output, drawn, rtol=1e-5, atol=1e-6)
    assert float(kl) == 0.0


@every_library
def test_moped_keeps_the_predictions_and_its_kl_depends_on_the_scales_alone(name):
    net, own, x = NETWORKS[name]()
    model = dq.moped(net, delta=0.05)
    model.eval()

    @jax.jit
    def values(model, x):
        posterior = model.posterior.get_value()
        at_zero = dq.MeanField(jax.tree.map(jnp.zeros_like, posterior.mu), posterior.rho)
        return model(x), model.kl(), at_zero.kl(dq.GaussianPrior(sigma=1.0))

    outputs, kl, kl_at_zero = values(model, x)
    np.testing.assert_allclose(outputs, own(x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(kl, kl_at_zero, rtol=1e-5)


@stateful
def test_statistics_are_carried_and_updated_in_training_alone(name, key):
    for mode in ("train", "eval"):
        model, _, x = build(name, mode, sigma=1e-3)
        before = statistics(model)
        params, rest = dq.partition(model)
        _, state = model.call_with_state(x, key=key)
        after = rest.with_state(state)
        assert jax.tree.structure(after) == jax.tree.structure(rest)
        assert differ(before, statistics(dq.combine(params, after))) == (mode == "train")
        assert not differ(before, statistics(model))


def test_objectives_return_the_new_state_and_a_step_stores_it(key):
    model, _, x = build("Linen", "train", sigma=1e-3)
    y = jnp.zeros((4, 2))

    @jax.jit
    def both(model):
        _, terms = dq.negative_elbo(model, x, y, key=key, num_data=4)
        state = dq.TrainState.create(model, ADAM)
        return dq.train_step(state, x, y, key=key, objective=dq.ELBO(4), optimizer=ADAM)[0], terms

    state, terms = both(model)
    params, rest = dq.partition(model)
    by_hand = dq.combine(params, rest.with_state(terms.state))
    for new, other in zip(statistics(by_hand), statistics(state.model), strict=True):
        np.testing.assert_allclose(new, other, rtol=1e-5, atol=1e-6)
    assert differ(statistics(model), statistics(state.model))


@stateful
def test_dropout_follows_the_key_in_training_and_is_off_in_evaluation(name, key):
    model, own, x = build(name, "train", sigma=1e-12)

    np.testing.assert_array_equal(model(x, key=key), model(x, key=key))
    assert not np.allclose(model(x, key=key), model(x, key=jax.random.key(1)))
    fixed = dq.draw(model, key=key)
    for _ in range(2):
        np.testing.assert_allclose(fixed(x), model(x, key=key), rtol=1e-5, atol=1e-6)
    model.eval()
    np.testing.assert_allclose(model(x, key=key), own(x), rtol=1e-5, atol=1e-6)


# The programs of docs/any-model.md train networks of NNX and Linen with BatchNorm and dropout in the same way.
@pytest.mark.slow
def test_fit_keeps_the_mode_of_the_model_and_prediction_uses_evaluation_mode(key):
    model, _, x = build("Equinox with state", "train", sigma=1e-6)
    y = np.zeros((4, 2), np.float32)
    trained = dq.fit(model, np.asarray(x), y, key=key, epochs=2).model
    assert differ(statistics(model), statistics(trained))
    assert differ(arrays(model.posterior), arrays(trained.posterior))
    with_dropout = dq.predict_vi_uq(trained, x, key=key, n_samples=3, mc_dropout=True)
    assert float(with_dropout.epistemic_var.max()) > 1e-3
    assert float(dq.predict_vi_uq(trained, x, key=key, n_samples=3).epistemic_var.max()) < 1e-3


def test_an_enclosing_model_passes_on_modes_and_statistics(key):
    inner = dq.bayesianize(ConvNet(), sigma=1e-12)
    outer = dq.Sequential(inner, dq.BayesianLinear(2, 1, rngs=nnx.Rngs(0)), likelihood=dq.Gaussian())
    before = statistics(outer)
    _, state = outer.call_with_state(jnp.ones((4, 6, 6, 2)), key=key)
    assert np.any(state["layers"][0]["carried"]["norm"]["mean"][...] != 0)
    assert not differ(before, statistics(outer))
    fixed = dq.draw(outer, key=key)
    x = NETWORKS["NNX conv net with BatchNorm"]()[2]
    for other in (None, jax.random.key(5)):
        np.testing.assert_allclose(fixed(x, key=other), outer(x, key=key), rtol=1e-5, atol=1e-6)
    outer.eval()
    net = ConvNet()
    net.eval()
    np.testing.assert_allclose(inner(x), net(x), rtol=1e-5, atol=1e-6)
    outer.train()
    assert not np.allclose(inner(x, key=key), net(x), atol=1e-3)


def test_plain_members_of_a_sequential_follow_the_key(key):
    rngs = nnx.Rngs(0)
    model = dq.Sequential(
        nnx.Linear(3, 8, rngs=rngs), nnx.BatchNorm(8, rngs=rngs), nnx.Dropout(0.5, rngs=rngs),
        dq.BayesianLinear(8, 2, sigma_init=1e-12, rngs=rngs), likelihood=dq.Gaussian(),
    )  # fmt: skip
    before, x = statistics(model), rows()
    np.testing.assert_array_equal(model(x, key=key), model(x, key=key))
    assert not np.allclose(model(x, key=key), model(x, key=jax.random.key(1)))
    fixed = dq.draw(model, key=key)
    for _ in range(2):
        np.testing.assert_allclose(fixed(x), model(x, key=key), rtol=1e-5, atol=1e-6)
    noise = model.draw_noise(x, key=key)
    assert len(noise) == 1
    assert not differ(before, statistics(model))
    with_dropout = dq.predict_vi_uq(model, x, key=key, n_samples=3, mc_dropout=True)
    assert float(with_dropout.epistemic_var.max()) > 1e-3
    assert float(dq.predict_vi_uq(model, x, key=key, n_samples=3).epistemic_var.max()) < 1e-9


@every_library
def test_a_last_layer_over_features_of_any_library(name, key):
    net, own, x = NETWORKS[name]()
    model = dq.LastLayerVariationalInference(net, 2, 3, likelihood=dq.Gaussian(), rngs=nnx.Rngs(0))
    model.eval()
    np.testing.assert_allclose(model(x, key=key), model.head(own(x), key=key), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(model.kl(), model.head.kl())
    model.train()
    before = statistics(model)
    _, state = model.call_with_state(x, key=key)
    params, rest = dq.partition(model)
    assert differ(before, statistics(dq.combine(params, rest.with_state(state)))) == (name in STATEFUL)
    fixed = dq.draw(model, key=key)
    for _ in range(2):
        np.testing.assert_allclose(fixed(x), model(x, key=key), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [True, False])
def test_features_of_another_library_are_trained_along_or_frozen(frozen, key):
    net, own, x = NETWORKS["Linen"]()
    model = dq.LastLayerVariationalInference(net, 2, 1, likelihood=dq.Gaussian(), frozen=frozen, rngs=nnx.Rngs(0))
    model.eval()
    state = one_step(model, x, jnp.ones((4, 1)), key)
    features = state.model.features(x)
    assert np.allclose(features, own(x), rtol=1e-5, atol=1e-6) == frozen
    assert not np.allclose(state.model(x), model(x))
