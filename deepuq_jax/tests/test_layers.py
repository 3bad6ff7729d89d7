"""Properties of single layers and stacks beyond the contracts."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

import deepuq_jax as dq

# Few sizes and few examples, since each new shape is compiled anew.
sizes = st.sampled_from([1, 2, 5])
few_examples = settings(max_examples=12)


def bayesian_linear(*shape, **options):
    return dq.BayesianLinear(*shape, rngs=nnx.Rngs(0), **options)


@pytest.mark.slow
@few_examples
@given(sizes, sizes, st.lists(sizes, max_size=2), st.booleans())
def test_any_shape_of_input_is_an_affine_map_of_the_drawn_weights(n_in, n_out, batch, use_bias):
    layer = bayesian_linear(n_in, n_out, use_bias=use_bias)
    key = jax.random.key(0)
    x = np.random.default_rng(0).normal(size=(*batch, n_in)).astype(np.float32)
    noise = layer.draw_noise(x, key=key)
    expected = x @ np.asarray(layer.kernel_posterior.sample(noise=noise["kernel"]))
    if use_bias:
        expected = expected + np.asarray(layer.bias_posterior.sample(noise=noise["bias"]))
    np.testing.assert_allclose(layer(x, key=key), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@few_examples
@given(sizes, st.lists(sizes, max_size=3), sizes)
def test_mlp_of_any_shape_is_its_layers_in_turn(n_in, hidden, n_out):
    model = dq.BayesByBackpropMLP(n_in, hidden, n_out, activation=jnp.tanh, rngs=nnx.Rngs(0))
    x = jnp.ones((2, n_in))
    noise = model.draw_noise(x, key=jax.random.key(0))
    linear = list(model.layers)[::2]
    h = x
    for i, (layer, layer_noise) in enumerate(zip(linear, noise, strict=True)):
        h = layer(h if i == 0 else jnp.tanh(h), noise=layer_noise)
    np.testing.assert_array_equal(model(x, key=jax.random.key(0)), h)
    assert len(linear) == len(hidden) + 1


def test_initial_means_and_standard_deviations():
    layer = bayesian_linear(400, 300, sigma_init=0.02)
    np.testing.assert_allclose(layer.kernel_posterior.sigma, 0.02, rtol=1e-5)
    np.testing.assert_array_equal(layer.bias_posterior.mu, 0.0)
    assert float(layer.kernel_posterior.mu.std()) == pytest.approx(1 / 20, rel=0.02)


def test_members_of_a_stack_get_keys_of_their_own(key):
    """This differs from `nnx.Sequential`, which hands the key only to its first member."""
    identity = dict(kernel_init=nnx.initializers.zeros_init(), use_bias=False, sigma_init=1.0)
    model = dq.Sequential(bayesian_linear(3, 3, **identity), bayesian_linear(3, 3, **identity))
    first, second = model.draw_noise(jnp.ones((1, 3)), key=key)
    assert not np.isclose(first["kernel"], second["kernel"]).any()
    assert not np.allclose(model(jnp.ones((1, 3)), key=key), 0.0)


def test_stack_trains_its_plain_members_and_leaves_batch_statistics_alone(key):
    rngs = nnx.Rngs(0)
    model = dq.Sequential(nnx.Linear(3, 4, rngs=rngs), nnx.BatchNorm(4, rngs=rngs), dq.BayesianLinear(4, 2, rngs=rngs))
    params, rest = dq.partition(model)
    assert len(jax.tree.leaves(params)) == 2 + 2 + 4
    assert len(jax.tree.leaves(rest)) == 2


def test_the_same_module_twice_is_refused():
    layer = bayesian_linear(3, 3)
    with pytest.raises(ValueError, match=r"same object at layers\.0 and layers\.2"):
        dq.Sequential(layer, nnx.relu, layer)


def test_a_tied_module_counts_once_and_is_not_trained_as_two():
    class Tied(nnx.Module):
        def __init__(self):
            self.encoder = bayesian_linear(3, 3)
            self.decoder = self.encoder

        def __call__(self, x, *, key=None):
            return self.decoder(self.encoder(x))

    model = Tied()
    np.testing.assert_allclose(dq.kl_divergence(model), model.encoder.kl(), rtol=1e-6)
    np.testing.assert_allclose(nnx.jit(dq.kl_divergence)(model), model.encoder.kl(), rtol=1e-6)
    with pytest.raises(ValueError, match="same object at"):
        dq.TrainState.create(model, optax.sgd(0.1))
    with pytest.raises(ValueError, match="same object at"):
        dq.predict_vi_uq(model, jnp.ones((1, 3)), key=jax.random.key(0))


def test_draw_reaches_the_layers_of_a_model_of_your_own(key):
    class Own(nnx.Module):
        def __init__(self):
            self.body = bayesian_linear(3, 4)
            self.head = bayesian_linear(4, 1)

        def __call__(self, x, *, key=None):
            keys = (None, None) if key is None else jax.random.split(key)
            return self.head(nnx.relu(self.body(x, key=keys[0])), key=keys[1])

    model, x = Own(), jnp.ones((2, 3))
    fixed = dq.draw(model, key=key)
    np.testing.assert_array_equal(fixed(x), fixed(x, key=key))
    assert not np.allclose(fixed(x), model(x))
    np.testing.assert_allclose(dq.kl_divergence(model), model.body.kl() + model.head.kl(), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: bayesian_linear(0, 1), ValueError, "Expected in_features to be a positive int; got 0"),
        (lambda: bayesian_linear(1, 2.0), TypeError, "Expected out_features"),
        (lambda: bayesian_linear(True, 1), TypeError, "Expected in_features"),
        (lambda: dq.BayesByBackpropMLP(3, (4, 0), 1, rngs=nnx.Rngs(0)), ValueError, r"hidden_dims\[1\]"),
        (lambda: dq.BayesByBackpropMLP(3, (4.0,), 1, rngs=nnx.Rngs(0)), TypeError, r"hidden_dims\[0\]"),
        (lambda: dq.BayesByBackpropMLP(3, 4, 1, rngs=nnx.Rngs(0)), TypeError, "Expected hidden_dims"),
        (lambda: dq.BayesByBackpropMLP(-3, (4,), 1, rngs=nnx.Rngs(0)), ValueError, "Expected input_dim"),
        (lambda: dq.BayesByBackpropMLP(3, (4,), None, rngs=nnx.Rngs(0)), TypeError, "Expected output_dim"),
        (lambda: bayesian_linear(3, 1)([1.0, 2.0, 3.0]), TypeError, "Expected x to be an array"),
        (lambda: bayesian_linear(3, 1)(jnp.zeros(())), ValueError, "Expected x to have shape"),
        (lambda: bayesian_linear(3, 1)(jnp.zeros((1, 3)), key=0), TypeError, "Expected key"),
        (lambda: dq.Sequential(bayesian_linear(3, 1), "relu"), TypeError, "Expected member 1"),
        (lambda: dq.Sequential(nnx.relu).kl(), ValueError, "Bayesian layer"),
        (
            lambda: dq.kl_divergence(nnx.Linear(2, 1, rngs=nnx.Rngs(0))),
            ValueError,
            "Expected model to define kl\\(\\) or to hold a Bayesian layer",
        ),
        (lambda: dq.draw(nnx.Linear(2, 1, rngs=nnx.Rngs(0)), key=jax.random.key(0)), TypeError, "bayesianize"),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_posteriors_start_at_the_documented_standard_deviation():
    layer = dq.BayesianLinear(3, 2, rngs=nnx.Rngs(0))
    for posterior in (layer.kernel_posterior, layer.bias_posterior):
        np.testing.assert_allclose(posterior.sigma, 0.05, rtol=1e-6)
