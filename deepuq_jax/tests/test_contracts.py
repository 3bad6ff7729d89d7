"""The contracts of estimators and layers.

The tests run over `__all__`, so a new estimator is tested without being listed here. A new layer needs a row in
`LAYERS`, with the arguments of its constructor.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy import stats

import deepuq_jax as dq
from deepuq_jax import estimators, layers
from deepuq_jax.layers.affine import AffineLayer, FixedWeight
from deepuq_jax.model.variables import VariableTree
from deepuq_jax.tests import tolerances
from deepuq_jax.tests.profiles import small_profile


def numbers(*shape):
    return jnp.linspace(-1, 1, int(np.prod(shape))).reshape(shape)


# The contracts compare draws with calls, which are equal under weight sampling alone. The regressors with learned noise
# have another default.
SAMPLED = {"estimator": dq.weight_sampling}

# For each layer, a function that builds it, and an input. A layer without a row fails `test_every_layer_has_a_row`. The
# layers share shapes, since each new shape costs the compilation of some twenty small programs.
LAYERS = {
    "BayesianConv": (lambda **o: dq.BayesianConv(3, 2, (3,), **o), numbers(5, 4, 3)),
    "BayesianEmbed": (lambda **o: dq.BayesianEmbed(6, 2, **o), jnp.array([0, 5, 2, 2, 1])),
    "BayesianLinear": (lambda **o: dq.BayesianLinear(4, 2, **o), numbers(5, 4)),
    "BayesByBackpropMLP": (lambda **o: dq.BayesByBackpropMLP(3, (4,), 2, **o), numbers(5, 3)),
    "BayesByBackpropRegressor": (lambda **o: dq.BayesByBackpropRegressor(3, (4,), 2, **o), numbers(5, 3)),
    # The regressors inherit their calls from the MLP, so a single layer shows what their constructors add.
    "HeteroscedasticBayesByBackpropRegressor": (
        lambda **o: dq.HeteroscedasticBayesByBackpropRegressor(4, (), **SAMPLED | o),
        numbers(5, 4),
    ),
    "HeteroscedasticMultiOutputBayesByBackpropRegressor": (
        lambda **o: dq.HeteroscedasticMultiOutputBayesByBackpropRegressor(4, 1, (), **SAMPLED | o),
        numbers(5, 4),
    ),
    "HomoscedasticBayesByBackpropRegressor": (
        lambda **o: dq.HomoscedasticBayesByBackpropRegressor(4, (), **SAMPLED | o),
        numbers(5, 4),
    ),
    # This extractor has no parameters, so every parameter belongs to a posterior. test_last_layer.py tests other
    # extractors.
    "LastLayerVariationalInference": (lambda **o: dq.LastLayerVariationalInference(jnp.tanh, 4, 2, **o), numbers(5, 4)),
    "MultiOutputBayesByBackpropRegressor": (
        lambda **o: dq.MultiOutputBayesByBackpropRegressor(4, 2, (), **o),
        numbers(5, 4),
    ),
    "Sequential": (
        lambda *, rngs, **o: dq.Sequential(
            dq.BayesianLinear(3, 4, rngs=rngs, **o), nnx.relu, dq.BayesianLinear(4, 2, rngs=rngs, **o)
        ),
        numbers(5, 3),
    ),
}


def build(name, **options):
    make, x = LAYERS[name]
    return make(rngs=nnx.Rngs(0), **options), x


def posteriors_of(model):
    trees = [module.get_value() for _, module in nnx.iter_modules(model) if isinstance(module, VariableTree)]
    return [tree for tree in trees if isinstance(tree, dq.GaussianPosterior)]


def is_numbers(x):
    return jnp.issubdtype(x.dtype, jnp.floating)


class OpaquePrior:
    """A Gaussian prior that hides its closed form."""

    def log_prob(self, w):
        return dq.GaussianPrior(0.0, 0.5).log_prob(w)


# One name per class, since some classes have a second documented name.
NAMES = list({getattr(layers, name): name for name in reversed(layers.__all__)}.values())[::-1]
# These only add a likelihood to the MLP, and inherit its calls, its draws and its KL, so `make test` leaves them out.
LIKE_ANOTHER = {
    "BayesByBackpropRegressor",
    "HeteroscedasticBayesByBackpropRegressor",
    "HeteroscedasticMultiOutputBayesByBackpropRegressor",
    "MultiOutputBayesByBackpropRegressor",
}
SMALL = [name for name in NAMES if name not in LIKE_ANOTHER]
layer_contract = pytest.mark.parametrize("name", small_profile(NAMES, SMALL))
estimator_contract = pytest.mark.parametrize("estimator", [getattr(estimators, n) for n in estimators.__all__])


def estimators_for(name):
    """Choose the estimators of a layer's contracts.

    A layer with its own kernel is tested with every estimator that it accepts. A network only passes the estimator on
    to its layers, so it is tested with Flipout, whose noise has the most parts.
    """
    if not issubclass(getattr(layers, name), AffineLayer):
        return ["flipout"]
    # The exact form refuses weights that are shared over positions. For other layers, it equals the approximate form.
    refused = "local_reparameterization" if name == "BayesianConv" else "approximate_local_reparameterization"
    return [estimator for estimator in estimators.__all__ if estimator != refused]


layer_and_estimator_contract = pytest.mark.parametrize(
    ("name", "estimator"),
    [
        pytest.param(
            name,
            getattr(estimators, estimator),
            id=f"{name}-{estimator}",
            marks=pytest.mark.long if name in LIKE_ANOTHER else (),
        )
        for name in NAMES
        for estimator in estimators_for(name)
    ],
)


def test_every_layer_has_a_row():
    assert set(LAYERS) == set(layers.__all__)


@pytest.mark.slow
@layer_and_estimator_contract
def test_jit_equals_eager_and_does_not_retrace(name, estimator, key):
    model, x = build(name, estimator=estimator)
    traces = []

    def every_result(model, x, key):
        return model(x, key=key), model(x), model.kl()

    @jax.jit
    def jitted(model, x, key):
        traces.append(1)
        return every_result(model, x, key)

    for k in (key, jax.random.key(1)):
        for actual, expected in zip(jitted(model, x, k), every_result(model, x, k), strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
    rebuilt, _ = build(name, estimator=estimator)
    jitted(rebuilt, x, key)
    assert len(traces) == 1


@layer_and_estimator_contract
def test_calls_under_vmap_equal_single_calls_and_draws_differ(name, estimator, key):
    model, x = build(name, estimator=estimator)
    keys = jax.random.split(key, 3)
    draws = jax.jit(jax.vmap(lambda k: model(x, key=k)))(keys)
    for draw, k in zip(draws, keys, strict=True):
        np.testing.assert_allclose(draw, model(x, key=k), rtol=1e-5, atol=1e-6)
    assert not np.allclose(draws[0], draws[1])


@layer_and_estimator_contract
def test_noise_path_equals_key_path(name, estimator, key):
    model, x = build(name, estimator=estimator)
    np.testing.assert_array_equal(model(x, noise=model.draw_noise(x, key=key)), model(x, key=key))


@pytest.mark.slow
@layer_and_estimator_contract
def test_gradients_are_finite_and_reach_every_parameter(name, estimator, key):
    model, x = build(name, estimator=estimator)
    grads = jax.jit(jax.grad(lambda m: jnp.sum(m(x, key=key) ** 2) + m.kl()))(model)
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        assert np.isfinite(grad).all(), path
        assert np.any(grad != 0), path


@layer_and_estimator_contract
def test_vanishing_noise_gives_the_means(name, estimator, key):
    model, x = build(name, estimator=estimator, sigma_init=1e-12)
    np.testing.assert_allclose(model(x, key=key), model(x), rtol=1e-6, atol=1e-6)


@layer_contract
@pytest.mark.parametrize("compute", [jnp.bfloat16, jnp.float32])
def test_outputs_keep_the_compute_dtype_and_posteriors_stay_float32(name, compute, key):
    model, x = build(name, dtype=compute)
    if is_numbers(x):
        assert model(x.astype(compute), key=key).dtype == compute
    assert model(x, key=key).dtype == compute
    assert {leaf.dtype for leaf in jax.tree.leaves(model)} == {jnp.dtype("float32")}
    assert model.kl().dtype == jnp.float32


@layer_contract
def test_float64_goes_through(name, x64, key):
    def results(key):
        model, x = build(name, param_dtype=jnp.float64)
        return model(x, key=key), model.kl()

    output, kl = jax.eval_shape(results, key)
    assert output.dtype == jnp.float64
    assert kl.dtype == jnp.float64


@layer_contract
def test_pytree_round_trip(name, key):
    model, x = build(name)
    leaves, treedef = jax.tree.flatten(model)
    again = jax.tree.unflatten(treedef, leaves)
    assert type(again) is type(model)
    assert jax.tree.structure(again) == treedef
    np.testing.assert_array_equal(again(x, key=key), model(x, key=key))
    graphdef, state = nnx.split(model)
    np.testing.assert_array_equal(nnx.merge(graphdef, state)(x, key=key), model(x, key=key))


@pytest.mark.slow
@layer_contract
def test_nnx_transforms_work(name, key):
    model, x = build(name)
    np.testing.assert_allclose(nnx.jit(lambda m: m(x, key=key))(model), model(x, key=key), rtol=1e-5, atol=1e-6)
    optimizer = nnx.Optimizer(model, optax.adam(0.1), wrt=nnx.Param)
    before, kl = jax.tree.leaves(nnx.state(model, nnx.Param)), float(model.kl())

    @nnx.jit
    def step(model, optimizer):
        grads = nnx.grad(lambda m: m.kl())(model)
        for grad, leaf in zip(jax.tree.leaves(grads), before, strict=True):
            assert grad.shape == leaf.shape
        optimizer.update(model, grads)

    for _ in range(3):
        step(model, optimizer)
    assert float(model.kl()) < kl


@pytest.mark.slow
@layer_contract
def test_a_model_is_built_under_vmap_over_seeds(name, key):
    make, x = LAYERS[name]
    keys = jax.random.split(key, 3)

    @jax.jit
    def outputs(keys):
        models = jax.vmap(lambda k: make(rngs=nnx.Rngs(k)))(keys)
        return jax.vmap(lambda m, k: m(x, key=k))(models, keys)

    out = outputs(keys)
    assert out.shape == (3, *make(rngs=nnx.Rngs(0))(x).shape)
    assert (*out.shape[:2], out.shape[-1]) == (3, 5, 2)
    assert not np.allclose(out[0], out[1])


@layer_contract
def test_kl_is_zero_where_the_posterior_is_the_prior(name):
    zeros = nnx.initializers.zeros_init()
    model, _ = build(name, prior=dq.GaussianPrior(0.0, 0.3), sigma_init=0.3, kernel_init=zeros)
    assert 0 <= float(model.kl()) < 1e-9


@layer_contract
def test_kl_without_closed_form_uses_the_weights_of_the_draw(name, key):
    model, _ = build(name, prior=OpaquePrior())
    with pytest.raises(dq.KeyRequiredError):
        model.kl()

    @jax.jit
    def at_draw(model):
        weights = jax.tree.leaves(nnx.state(dq.draw(model, key=key), FixedWeight))
        # The fixed layers hold the same tensors in another order, so they are matched by shape.
        log_q = sum(q.log_prob(next(w for w in weights if w.shape == q.mu.shape)) for q in posteriors_of(model))
        return weights, log_q, model.kl(key)

    weights, log_q, kl = at_draw(model)
    log_prior = sum(stats.norm.logpdf(leaf, 0, 0.5).sum() for leaf in weights)
    np.testing.assert_allclose(kl, float(log_q) - log_prior, rtol=1e-4)


@layer_contract
def test_kl_is_the_sum_over_its_posteriors(name):
    model, _ = build(name, prior=dq.GaussianPrior(0.1, 0.7))
    posteriors = posteriors_of(model)
    expected = sum(float(q.kl(dq.GaussianPrior(0.1, 0.7))) for q in posteriors)
    np.testing.assert_allclose(model.kl(), expected, rtol=1e-5)
    np.testing.assert_allclose(dq.kl_divergence(model), expected, rtol=1e-5)


@layer_contract
def test_draw_equals_the_call_at_its_key(name, key):
    model, x = build(name)
    fixed = dq.draw(model, key=key)
    np.testing.assert_allclose(fixed(x), model(x, key=key), rtol=1e-6)
    np.testing.assert_array_equal(fixed(x, key=jax.random.key(9)), fixed(x))
    assert float(fixed.kl()) == 0.0


@layer_contract
def test_bad_inputs_are_refused(name, key):
    model, x = build(name)
    with pytest.raises(ValueError, match=r"Expected (x|feature_extractor)"):
        model(x[..., :-1] if is_numbers(x) else x - 1, key=key)
    with pytest.raises(ValueError, match="both"):
        model(x, key=key, noise=model.draw_noise(x, key=key))
    for options, error in [
        ({"sigma_init": 0.0}, ValueError),
        ({"sigma_init": float("nan")}, ValueError),
        ({"sigma_init": "small"}, TypeError),
        ({"param_dtype": jnp.bfloat16}, ValueError),
        ({"param_dtype": jnp.int32}, ValueError),
        ({"prior": 0.1}, TypeError),
    ]:
        with pytest.raises(error, match="Expected"):
            build(name, **options)


@estimator_contract
def test_estimator_has_the_law_of_weight_sampling(estimator, key):
    """Mean and variance of a layer's outputs over draws are within five standard errors of the exact moments."""
    layer = dq.BayesianLinear(3, 2, estimator=estimator, sigma_init=0.3, rngs=nnx.Rngs(0))
    x = jnp.array([[1.0, -2.0, 0.5], [0.0, 0.0, 0.0]])
    n = 20_000
    draws = np.asarray(jax.lax.map(lambda k: layer(x, key=k), jax.random.split(key, n), batch_size=1000), np.float64)
    kernel, bias = layer.kernel_posterior, layer.bias_posterior
    variance = np.asarray(x, float) ** 2 @ np.asarray(kernel.sigma, float) ** 2 + np.asarray(bias.sigma, float) ** 2
    error = tolerances.STANDARD_ERRORS * np.sqrt(variance / n)
    np.testing.assert_array_less(np.abs(draws.mean(axis=0) - layer(x)), error)
    error = tolerances.STANDARD_ERRORS * variance * np.sqrt(2 / n)
    np.testing.assert_array_less(np.abs(draws.var(axis=0) - variance), error)
