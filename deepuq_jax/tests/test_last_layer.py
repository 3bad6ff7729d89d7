"""A Bayesian last layer over the features of any network: trained, carried and frozen parts, and keys."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import deepuq_jax as dq


class Net(nnx.Module):
    """Features with BatchNorm statistics, a LayerNorm and dropout."""

    def __init__(self, rate=0.0):
        rngs = nnx.Rngs(0)
        self.linear = nnx.Linear(3, 4, rngs=rngs)
        self.batch_norm = nnx.BatchNorm(4, rngs=rngs)
        self.layer_norm = nnx.LayerNorm(4, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)

    def __call__(self, x):
        return self.dropout(self.layer_norm(nnx.tanh(self.batch_norm(self.linear(x)))))


def last_layer(net=None, outputs=2, *args, **options):
    return dq.LastLayerVariationalInference(net or Net(), 4, outputs, *args, rngs=nnx.Rngs(1), **options)


def inputs(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape or (6, 3)), jnp.float32)


SGD = optax.sgd(0.1)


@jax.jit
def take_step(state, key, objective):
    return dq.train_step(state, inputs(), jnp.ones((6, 2)), key=key, objective=objective, optimizer=SGD)[0]


def train(model, steps=3, key=jax.random.key(3), log_likelihood=dq.Gaussian()):
    state = dq.TrainState.create(model, SGD)
    for k in jax.random.split(key, steps):
        state = take_step(state, k, dq.ELBO(6, log_likelihood=log_likelihood))
    assert int(state.bad_step) == -1
    return state.model


def arrays(tree):
    def is_key(leaf):
        return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)

    return [np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf) for leaf in jax.tree.leaves(tree)]


def test_outputs_are_the_head_of_the_features(key):
    model, x = last_layer(), inputs()
    features = model.features(x)
    np.testing.assert_array_equal(model(x, key=key), model.head(features, key=key))
    np.testing.assert_array_equal(model(x), model.head(features))
    np.testing.assert_array_equal(model(x, noise=model.draw_noise(x, key=key)), model(x, key=key))
    np.testing.assert_array_equal(model.kl(), model.head.kl())
    np.testing.assert_array_equal(dq.kl_divergence(model), model.head.kl())


@pytest.mark.parametrize("leading", [(), (5,), (5, 2)])
def test_leading_axes_stay(leading):
    net = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
    assert last_layer(net)(inputs(*leading, 3)).shape == (*leading, 2)


def test_the_extractor_is_trained_too_and_its_statistics_are_carried(key):
    model = last_layer()
    params, rest = dq.partition(model)
    # The posteriors of the head, then Linear, BatchNorm and LayerNorm.
    assert len(arrays(params)) == 4 + 2 + 2 + 2
    trained = train(model)
    for before, after in zip(arrays(params), arrays(nnx.state(trained, nnx.Param)), strict=True):
        assert not np.array_equal(before, after)
    assert not np.allclose(trained.feature_extractor.batch_norm.mean[...], model.feature_extractor.batch_norm.mean[...])
    assert len(arrays(rest)) == len(arrays(dq.partition(trained)[1]))


def test_a_call_writes_nothing_and_returns_the_state(key):
    model = last_layer()
    before = arrays(model)
    _, state = model.call_with_state(inputs(), key=key)
    for old, new in zip(before, arrays(model), strict=True):
        np.testing.assert_array_equal(old, new)
    mean = state["feature_extractor"]["batch_norm"]["mean"][...]
    assert not np.allclose(mean, model.feature_extractor.batch_norm.mean[...])


def test_a_frozen_extractor_is_a_copy_that_stays(key):
    net = Net()
    net.eval()
    model = last_layer(net, frozen=True)
    np.testing.assert_array_equal(model(inputs()), last_layer(net)(inputs()))
    assert len(arrays(nnx.state(model, nnx.Param))) == 4
    before = arrays(nnx.state(net))
    trained = train(model)
    np.testing.assert_array_equal(trained.features(inputs()), net(inputs()))
    objective = dq.ELBO(log_likelihood=dq.Gaussian())
    fitted = dq.fit(model, inputs(), jnp.ones((6, 2)), key=key, objective=objective, epochs=2).model
    np.testing.assert_array_equal(fitted.features(inputs()), model.features(inputs()))
    for old, new in zip(before, arrays(nnx.state(net)), strict=True):
        np.testing.assert_array_equal(old, new)


def test_any_callable_is_an_extractor(key):
    weights = jnp.ones((3, 4))
    model = last_layer(lambda x: jnp.tanh(x @ weights))
    np.testing.assert_allclose(model.features(inputs()), np.tanh(inputs() @ weights), rtol=1e-6)
    trained = train(model)
    assert not np.allclose(trained(inputs()), model(inputs()))


@pytest.mark.parametrize("frozen", [False, True])
def test_dropout_follows_the_key_and_not_a_count(frozen, key):
    model = last_layer(Net(rate=0.5), sigma_init=1e-12, frozen=frozen)
    call = jax.jit(lambda m, k: m(inputs(), key=k))
    np.testing.assert_array_equal(call(model, key), call(model, key))
    np.testing.assert_allclose(call(model, key), model(inputs(), key=key), rtol=1e-5, atol=1e-6)
    assert np.allclose(call(model, key), call(model, jax.random.key(1))) == frozen

    def streams(model):
        return arrays(nnx.state(model, nnx.RngState))

    for old, new in zip(streams(model), streams(train(model)), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_draw_equals_the_call_at_its_key(rate, key):
    model, x = last_layer(Net(rate=rate)), inputs()

    @jax.jit
    def look_at(model, x):
        fixed = dq.draw(model, key=key)
        return fixed, model(x, key=key), [fixed(x) for _ in range(2)]

    fixed, expected, outputs = look_at(model, x)
    for drawn in outputs:
        np.testing.assert_allclose(drawn, expected, rtol=1e-5, atol=1e-6)
    assert len(arrays(nnx.state(fixed, nnx.Param))) == 0
    assert fixed.likelihood == model.likelihood


@pytest.mark.slow
@pytest.mark.parametrize("heteroscedastic", [True, False])
def test_the_task_makes_a_classification(heteroscedastic, key):
    model = last_layer(None, 3, "classification", heteroscedastic)
    assert model.heteroscedastic is False  # A classifier has no noise variance.
    result = dq.predict_vi_uq(model, inputs(), key=key, n_samples=4)
    np.testing.assert_allclose(result.probs.sum(axis=-1), 1.0, rtol=1e-6)
    assert result.metadata == {"method": "vi", "n_samples": 4, "task": "classification"}
    labels = jnp.asarray([0, 1, 2, 0, 1, 2])
    _, terms = dq.vi_elbo_step(model, inputs(), labels, 2, key=key)
    outputs = model(inputs(), key=jax.random.fold_in(key, 0))
    expected = optax.softmax_cross_entropy_with_integer_labels(outputs, labels).mean()
    np.testing.assert_allclose(terms.nll, expected, rtol=1e-6)


def test_the_noise_of_a_regression_decides_its_variance_and_score(key):
    x, y = inputs(), jnp.ones((6, 2))

    def predict(model):
        return dq.predict_vi_uq(model, x, key=key, n_samples=4)

    learned, known, unknown = (
        last_layer(heteroscedastic=True),
        last_layer(likelihood=dq.Gaussian(0.5)),
        last_layer(),
    )
    assert predict(learned).aleatoric_var.shape == (6, 2)
    np.testing.assert_allclose(predict(known).aleatoric_var, 0.25)
    assert predict(unknown).aleatoric_var is None
    outputs = unknown(x, key=jax.random.fold_in(key, 0))
    np.testing.assert_allclose(
        dq.vi_elbo_step(unknown, x, y, 2, key=key)[1].nll, jnp.mean((outputs - y) ** 2), rtol=1e-6
    )
    outputs = learned(x, key=jax.random.fold_in(key, 0))
    np.testing.assert_allclose(dq.vi_elbo_step(learned, x, y, 2, key=key)[1].nll, learned.nll(outputs, y), rtol=1e-6)
    mean, raw_var = learned.split_prediction(outputs)
    assert mean.shape == raw_var.shape == (6, 2)


@pytest.mark.slow
def test_transformations_of_jax_work(key):
    model, x = last_layer(Net(rate=0.5)), inputs()
    keys = jax.random.split(key, 3)
    draws = jax.jit(jax.vmap(lambda k: model(x, key=k)))(keys)
    np.testing.assert_allclose(draws[1], model(x, key=keys[1]), rtol=1e-5, atol=1e-6)

    def loss(m):
        return dq.negative_elbo(m, x, jnp.ones((6, 2)), key=key, num_data=6, log_likelihood=dq.Gaussian())[0]

    eager, jitted = nnx.grad(loss)(model), nnx.jit(nnx.grad(loss))(model)
    for one, other in zip(arrays(eager), arrays(jitted), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
        assert np.isfinite(one).all()
    result = jax.jit(lambda m: dq.predict_vi_uq(m, x, key=key, n_samples=3, batch_size=4))(model)
    assert result.mean.shape == (6, 2)


def test_an_array_prior_is_carried_and_not_trained(key):
    model = last_layer(prior=dq.GaussianPrior(0.0, jnp.asarray(0.5)))
    trained = train(model)
    assert float(trained.head.prior.sigma) == 0.5


class Tied(nnx.Module):
    def __init__(self):
        self.first = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
        self.again = self.first

    def __call__(self, x):
        return self.again(x)


def bayesian_net():
    return dq.Sequential(dq.BayesianLinear(3, 4, rngs=nnx.Rngs(0)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: last_layer(task="ranking"), ValueError, "Expected task to be 'regression' or 'classification'; got"),
        (lambda: last_layer("resnet"), TypeError, "Expected feature_extractor to be a callable"),
        (lambda: last_layer(outputs=0), ValueError, "Expected output_dim"),
        (
            lambda: last_layer(nnx.Linear(3, 5, rngs=nnx.Rngs(0)))(inputs()),
            ValueError,
            r"feature_extractor .* \[..., 4\]",
        ),
        (lambda: last_layer(lambda x: 1.0)(inputs()), ValueError, "Expected feature_extractor to return"),
        (lambda: last_layer(bayesian_net()), ValueError, "without Bayesian layers"),
        (lambda: last_layer(bayesian_net().layers[0]), ValueError, "without Bayesian layers"),
        (lambda: last_layer(Tied()), ValueError, "same object at"),
        (
            lambda: last_layer(heteroscedastic=True, likelihood=dq.Gaussian()),
            ValueError,
            "Expected likelihood to be None",
        ),
        (lambda: last_layer(likelihood=dq.Categorical()), ValueError, "Expected likelihood of task 'regression'"),
        (lambda: last_layer().nll(jnp.ones((6, 4)), jnp.ones((6, 2))), RuntimeError, "heteroscedastic for nll"),
        (lambda: last_layer().split_prediction(jnp.ones((6, 4))), RuntimeError, "heteroscedastic for split_prediction"),
        (
            lambda: dq.negative_elbo(last_layer(), inputs(), jnp.ones((6, 2)), key=jax.random.key(0), num_data=6),
            ValueError,
            "Expected log_likelihood",
        ),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_tied_weights_may_be_frozen():
    net = Tied()
    np.testing.assert_array_equal(last_layer(net, frozen=True).features(inputs()), net(inputs()))
