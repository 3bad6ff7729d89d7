"""The objectives: their units, minibatches, the documented formula, and the input that they refuse."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax.tests import tolerances
from deepuq_jax.tests.test_contracts import OpaquePrior


def regression(n=10, dtype=np.float32):
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.normal(size=(n, 3)), dtype), jnp.asarray(rng.normal(size=(n, 2)), dtype)


def mlp(**options):
    return dq.BayesByBackpropMLP(3, (4,), 2, rngs=nnx.Rngs(0), **options)


def stack_of(model, x, key, count):
    """Return the noise of `count` draws, with a leading axis of draws."""

    @jax.jit
    def stack(model, x):
        noises = [model.draw_noise(x, key=jax.random.fold_in(key, i)) for i in range(count)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *noises)

    return stack(model, x)


GAUSSIAN = dq.Gaussian(0.5)


class Tied(nnx.Module):
    """A model that calls the same layer twice."""

    def __init__(self):
        self.first = dq.BayesianLinear(2, 2, rngs=nnx.Rngs(0))
        self.second = self.first

    def __call__(self, x, *, key=None):
        return self.second(self.first(x, key=key), key=key)


def test_the_kl_of_a_layer_that_is_called_twice_counts_once(key):
    model, x = Tied(), jnp.ones((3, 2))
    _, terms = dq.negative_elbo(model, x, x, key=key, num_data=3, log_likelihood=dq.Gaussian(1.0))
    np.testing.assert_allclose(terms.kl, model.first.kl(), rtol=1e-6)


def test_loss_is_the_formula_term_by_term(key, x64):
    model = mlp(param_dtype=jnp.float64)
    x, y = regression(dtype=np.float64)
    options = dict(key=key, num_data=50, log_likelihood=GAUSSIAN, kl_weight=0.3, mc_samples=4)
    loss, terms = jax.jit(lambda model: dq.negative_elbo(model, x, y, **options))(model)
    draw = jax.jit(lambda model, i: -GAUSSIAN(model(x, key=jax.random.fold_in(key, i)), y))
    nll, kl = np.mean([np.mean(draw(model, i)) for i in range(4)]), float(jax.jit(lambda model: model.kl())(model))
    rtol = tolerances.SUMS["float64"]
    np.testing.assert_allclose(terms.nll, nll, rtol=rtol)
    np.testing.assert_allclose(terms.kl, kl, rtol=rtol)
    np.testing.assert_allclose(loss, nll + 0.3 * kl / 50, rtol=rtol)
    np.testing.assert_array_equal(terms.loss, loss)


@pytest.mark.slow
def test_key_path_equals_noise_path_and_gradients_agree(key):
    model, (x, y) = mlp(), regression()
    noise = stack_of(model, x, key, 3)

    def loss(model, **source):
        return dq.negative_elbo(model, x, y, num_data=10, log_likelihood=GAUSSIAN, mc_samples=3, **source)[0]

    compiled = jax.jit(jax.value_and_grad(loss))
    by_key, by_noise = (compiled(model, **source) for source in ({"key": key}, {"noise": noise}))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), by_key, by_noise)


def test_minibatches_are_exact_even_with_a_smaller_last_one(key, x64):
    """With the same noise, the batches of an epoch, weighted by their sizes, give the value of the full batch."""
    model = mlp(param_dtype=jnp.float64)
    x, y = regression(10, np.float64)
    options = dict(num_data=10, log_likelihood=GAUSSIAN, noise=stack_of(model, x, key, 2), mc_samples=2)
    loss = jax.jit(lambda model, x, y: dq.negative_elbo(model, x, y, **options)[0])
    whole = loss(model, x, y)
    parts = [(b - a) * float(loss(model, x[a:b], y[a:b])) for a, b in ((0, 4), (4, 8), (8, 10))]
    np.testing.assert_allclose(sum(parts) / 10, whole, rtol=tolerances.SUMS["float64"])


def test_vi_elbo_step_is_the_documented_formula(key):
    model = mlp()
    x, _ = regression()
    y = jnp.asarray([0, 1] * 5)
    loss, terms = dq.vi_elbo_step(model, x, y, 7, kl_weight=0.5, mc_samples=2, key=key)
    outs = [model(x, key=jax.random.fold_in(key, i)) for i in range(2)]
    nll = np.mean([-float(jnp.mean(jax.nn.log_softmax(o)[jnp.arange(10), y])) for o in outs])
    np.testing.assert_allclose(terms.nll, nll, rtol=1e-5)
    np.testing.assert_allclose(terms.kl, model.kl() / 7, rtol=1e-6)
    np.testing.assert_allclose(loss, nll + 0.5 * float(model.kl()) / 7, rtol=1e-5)


def test_vi_elbo_step_with_kl_weight_one_over_the_batch_size_is_the_elbo(key):
    model, (x, y) = mlp(likelihood=GAUSSIAN), regression()
    documented, _ = dq.vi_elbo_step(model, x, y, num_batches=5, kl_weight=1 / 10, key=key)
    exact, _ = dq.negative_elbo(model, x, y, num_data=50, key=key)
    np.testing.assert_allclose(documented, exact, rtol=1e-6)


def test_vi_elbo_step_takes_a_criterion_and_traced_counts(key):
    model, (x, y) = mlp(), regression()

    def mse(out, y):
        return jnp.mean((out - y) ** 2)

    def loss(num_batches):
        return dq.vi_elbo_step(model, x, y, num_batches, criterion=mse, key=key)[0]

    np.testing.assert_allclose(jax.jit(loss)(4), loss(4), rtol=1e-6)


HETEROSCEDASTIC = dq.HeteroscedasticGaussian()


def nll_of(likelihood, outputs, y):
    """Write out the criterion that the documentation of `vi_elbo_step` gives for a likelihood."""
    if likelihood == dq.UnknownNoise():
        return np.mean((outputs - y) ** 2)
    mean, var = outputs[:, :1], np.log1p(np.exp(outputs[:, 1:])) + 1e-6
    return np.mean(0.5 * ((y - mean) ** 2 / var + np.log(var)).sum(axis=-1))


@pytest.mark.parametrize("likelihood", [dq.UnknownNoise(), HETEROSCEDASTIC])
def test_vi_elbo_step_takes_the_documented_criterion_of_the_models_likelihood(likelihood, key):
    model, (x, y) = mlp(likelihood=likelihood), regression()
    y = y if likelihood == dq.UnknownNoise() else y[:, :1]
    _, terms = dq.vi_elbo_step(model, x, y, 7, mc_samples=2, key=key)
    draws = [np.asarray(model(x, key=jax.random.fold_in(key, i)), np.float64) for i in range(2)]
    np.testing.assert_allclose(terms.nll, np.mean([nll_of(likelihood, out, y) for out in draws]), rtol=1e-5)


def test_a_likelihood_that_predicts_its_noise_overrides_the_criterion_and_others_do_not(key):
    x, y = regression()

    def seven(out, y):
        return jnp.asarray(7.0)

    def nll(likelihood, y):
        return dq.vi_elbo_step(mlp(likelihood=likelihood), x, y, 7, criterion=seven, key=key)[1].nll

    assert float(nll(dq.UnknownNoise(), y)) == float(nll(GAUSSIAN, y)) == 7.0
    assert float(nll(HETEROSCEDASTIC, y[:, :1])) != 7.0


def test_vi_elbo_step_with_predicted_noise_is_the_elbo_up_to_a_constant(key):
    model, (x, y) = mlp(likelihood=HETEROSCEDASTIC), regression()
    documented, _ = dq.vi_elbo_step(model, x, y[:, :1], num_batches=5, kl_weight=1 / 10, key=key)
    exact, _ = dq.negative_elbo(model, x, y[:, :1], num_data=50, key=key)
    np.testing.assert_allclose(documented + 0.5 * np.log(2 * np.pi), exact, rtol=1e-5)


@pytest.mark.parametrize("likelihood", [dq.UnknownNoise(), HETEROSCEDASTIC])
def test_a_target_that_would_broadcast_is_refused_by_the_documented_criteria(likelihood, key):
    model, (x, y) = mlp(likelihood=likelihood), regression()
    with pytest.raises(ValueError, match="Expected y of shape"):
        dq.vi_elbo_step(model, x, y[:, 0], 3, key=key)


def test_an_objective_in_nats_refuses_a_regression_with_unknown_noise(key):
    model, (x, y) = mlp(likelihood=dq.UnknownNoise()), regression()
    calls = [
        lambda **o: dq.negative_elbo(model, x, y, key=key, num_data=10, **o),
        lambda **o: dq.fit(model, x, y, key=key, objective=dq.ELBO(**o), epochs=1),
        lambda **o: dq.log_predictive_density(model, x, y, key=key, n_samples=2, **o),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="Expected log_likelihood for a regression model"):
            call()
        call(log_likelihood=GAUSSIAN)


@pytest.mark.slow
def test_a_numpy_integer_is_a_count(key):
    model, (x, y) = mlp(likelihood=GAUSSIAN), regression()
    count = np.int64(3)
    by_numpy = dq.vi_elbo_step(model, x, y, count, mc_samples=count, key=key)[0]
    np.testing.assert_array_equal(by_numpy, dq.vi_elbo_step(model, x, y, 3, mc_samples=3, key=key)[0])
    result = dq.predict_vi_uq(model, x, key=key, n_samples=count)
    assert type(result.metadata["n_samples"]) is int


@pytest.mark.slow
def test_monte_carlo_kl_uses_the_weights_of_the_draw(key):
    model, (x, y) = mlp(prior=OpaquePrior()), regression()

    @jax.jit
    def of(model, **source):
        return dq.negative_elbo(model, x, y, num_data=10, log_likelihood=GAUSSIAN, mc_samples=3, **source)

    loss, terms = of(model, key=key)
    kl = jax.jit(lambda model, i: model.kl(jax.random.fold_in(key, i)))
    np.testing.assert_allclose(terms.kl, np.mean([float(kl(model, i)) for i in range(3)]), rtol=1e-5)
    again, _ = of(model, noise=stack_of(model, x, key, 3))
    np.testing.assert_allclose(loss, again, rtol=1e-5)


def test_num_data_and_kl_weight_never_recompile(key):
    model, (x, y) = mlp(), regression()
    traces = []

    @jax.jit
    def loss(model, num_data, kl_weight):
        traces.append(1)
        options = dict(num_data=num_data, kl_weight=kl_weight, log_likelihood=GAUSSIAN)
        return dq.negative_elbo(model, x, y, key=key, **options)[0]

    assert loss(model, 10, 1.0) != loss(model, 20, 0.5)
    assert len(traces) == 1


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class OwnLinear:
    """A model that is a plain pytree, without Flax."""

    q: dq.MeanField
    scale: jax.Array

    def __call__(self, x, *, key=None):
        return x @ (self.q.mean() if key is None else self.q.sample(key=key)) * self.scale

    def kl(self, key=None):
        return self.q.kl(dq.GaussianPrior(0.0, 1.0))


def test_a_model_of_your_own_needs_only_the_protocol(key):
    model = OwnLinear(dq.MeanField.init(jnp.ones((3, 2)), 0.1), jnp.ones(()))
    x, y = regression()
    objective = dq.ELBO(kl_weight=dq.schedules.linear(15), log_likelihood=GAUSSIAN)
    result = dq.fit(model, x, y, key=key, objective=objective, epochs=20, optimizer=optax.adam(0.05))
    assert isinstance(result.model, OwnLinear)
    assert result.history["loss"][-1] < result.history["loss"][0]
    assert dq.predict_vi_uq(result.model, x, key=key, n_samples=5).mean.shape == (10, 2)


def test_float_labels_and_wrong_shapes_are_refused(key):
    model, (x, y) = mlp(), regression()
    with pytest.raises(TypeError, match="integer labels"):
        dq.negative_elbo(model, x, y[:, 0], key=key, num_data=10, log_likelihood=dq.Categorical())
    with pytest.raises(TypeError, match="integer labels"):
        dq.vi_elbo_step(model, x, y[:, 0], 3, key=key)
    single = dq.BayesByBackpropMLP(3, (), 1, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"Expected y of shape \[10, 1\], as the outputs have; got float32\[10\]"):
        dq.negative_elbo(single, x, y[:, 0], key=key, num_data=10, log_likelihood=GAUSSIAN)
    options = dict(num_data=10, log_likelihood=lambda out, y: -jnp.mean((out - y) ** 2))
    with pytest.raises(ValueError, match="nats per example"):
        dq.negative_elbo(model, x, y, key=key, **options)


@pytest.mark.parametrize("bad", [0, -1, 2.0, True, np.True_, np.float64(3), "3", None])
def test_counts_that_are_not_positive_ints_are_refused(bad, key):
    model, (x, y) = mlp(likelihood=GAUSSIAN), regression()
    with pytest.raises(ValueError, match="Expected num_batches to be a positive int"):
        dq.vi_elbo_step(model, x, y, bad, key=key)
    with pytest.raises(ValueError, match="Expected mc_samples to be a positive int"):
        dq.vi_elbo_step(model, x, y, 3, mc_samples=bad, key=key)
    with pytest.raises(ValueError, match="Expected mc_samples to be a positive int"):
        dq.negative_elbo(model, x, y, num_data=10, mc_samples=bad, key=key)


def test_n_batches_is_a_deprecated_alias(key):
    model, (x, y) = mlp(likelihood=GAUSSIAN), regression()
    with pytest.warns(DeprecationWarning, match="use num_batches") as caught:
        alias = dq.vi_elbo_step(model, x, y, n_batches=3, key=key)[0]
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both = dq.vi_elbo_step(model, x, y, num_batches=3, n_batches=3, key=key)[0]
    assert alias == both
    with pytest.raises(ValueError, match="to be equal"):
        dq.vi_elbo_step(model, x, y, num_batches=3, n_batches=4, key=key)
    with pytest.raises(ValueError, match="Expected n_batches"):
        dq.vi_elbo_step(model, x, y, n_batches=2.0, key=key)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": jnp.full((10, 3), jnp.nan)}, ValueError, "Expected x to be finite"),
        ({"y": jnp.full((10, 2), jnp.inf)}, ValueError, "Expected y to be finite"),
        ({"x": jnp.zeros((9, 3))}, ValueError, "Expected y to hold 9 examples"),
        ({"x": jnp.zeros((0, 3)), "y": jnp.zeros((0, 2))}, ValueError, "at least one example"),
        ({"x": [[1.0, 2.0, 3.0]]}, TypeError, "leading batch axis"),
        ({"num_data": 0}, ValueError, "Expected num_data"),
        ({"num_data": float("nan")}, ValueError, "Expected num_data"),
        ({"num_data": "10"}, TypeError, "Expected num_data"),
        ({"kl_weight": float("nan")}, ValueError, "Expected kl_weight"),
        ({"key": None}, TypeError, "Expected key"),
        ({"key": 3}, TypeError, "Expected key"),
        ({"log_likelihood": "gaussian"}, TypeError, "Expected log_likelihood"),
        ({"key": None, "noise": (jnp.zeros((2, 3, 4)),)}, ValueError, "leading axis of 1 draws"),
    ],
)
def test_bad_input_is_refused(change, error, message, key):
    x, y = regression()
    arguments = dict(x=x, y=y, key=key, num_data=10, log_likelihood=GAUSSIAN) | change
    with pytest.raises(error, match=message):
        dq.negative_elbo(mlp(), arguments.pop("x"), arguments.pop("y"), **arguments)
