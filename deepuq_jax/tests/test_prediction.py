"""Prediction: the streamed moments equal those of a stack of draws, under every transformation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

import deepuq_jax as dq
from deepuq_jax.tests import tolerances


def mlp(output_dim=3, **options):
    return dq.BayesByBackpropMLP(2, (6,), output_dim, rngs=nnx.Rngs(0), sigma_init=0.3, **options)


def inputs(n=7):
    return jnp.asarray(np.random.default_rng(0).normal(size=(n, 2)), jnp.float32)


def naive(model, x, key, n):
    return np.stack([np.asarray(model(x, key=jax.random.fold_in(key, i)), np.float64) for i in range(n)])


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def test_regression_is_the_naive_stack(key):
    model, x = mlp(), inputs()
    draws = naive(model, x, key, 11)
    result = dq.predict_vi_uq(model, x, key=key, n_samples=11, aleatoric_var=0.25)
    np.testing.assert_allclose(result.mean, draws.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(result.epistemic_var, draws.var(axis=0), rtol=1e-5)
    np.testing.assert_allclose(result.aleatoric_var, 0.25)
    np.testing.assert_allclose(result.total_var, draws.var(axis=0) + 0.25, rtol=1e-5)
    assert result.metadata == {"method": "vi", "n_samples": 11, "task": "regression", "heteroscedastic": False}
    assert result.probs is None
    assert result.predictive_entropy is None


def test_regression_without_noise_has_the_epistemic_variance_alone(key):
    result = dq.predict_vi_uq(mlp(), inputs(), key=key, n_samples=5)
    assert result.aleatoric_var is None
    np.testing.assert_array_equal(result.total_var, result.epistemic_var)


@pytest.mark.parametrize("how", ["apply_softmax", "likelihood"])
def test_classification_is_the_naive_stack(how, key):
    model = mlp(likelihood=dq.Categorical()) if how == "likelihood" else mlp()
    x = inputs()
    probs = softmax(naive(mlp(), x, key, 9))
    result = dq.predict_vi_uq(model, x, key=key, n_samples=9, apply_softmax=how == "apply_softmax")
    np.testing.assert_allclose(result.probs, probs.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(result.probs_var, probs.var(axis=0), rtol=1e-4, atol=1e-8)
    entropy = stats.entropy(probs.mean(axis=0), axis=-1)
    np.testing.assert_allclose(result.predictive_entropy, entropy, rtol=1e-5)
    information = entropy - stats.entropy(probs, axis=-1).mean(axis=0)
    np.testing.assert_allclose(result.mutual_information, information, rtol=1e-3, atol=1e-6)
    assert (result.mutual_information >= 0).all()
    assert result.aleatoric_var is None
    assert result.metadata == {"method": "vi", "n_samples": 9, "task": "classification"}
    np.testing.assert_array_equal(result.mean, result.probs)


def test_heteroscedastic_variance_is_averaged_over_draws(key):
    model = mlp(4, likelihood=dq.HeteroscedasticGaussian())
    draws = naive(model, inputs(), key, 8)
    result = dq.predict_vi_uq(model, inputs(), key=key, n_samples=8)
    aleatoric = (np.log1p(np.exp(draws[..., 2:])) + 1e-6).mean(axis=0)
    np.testing.assert_allclose(result.mean, draws[..., :2].mean(axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(result.aleatoric_var, aleatoric, rtol=1e-5)
    np.testing.assert_allclose(result.total_var, aleatoric + draws[..., :2].var(axis=0), rtol=1e-5)
    assert result.metadata["heteroscedastic"] is True


@pytest.mark.parametrize("likelihood", [dq.Categorical(), dq.HeteroscedasticGaussian()])
def test_a_given_variance_has_no_effect_where_it_is_not_used(likelihood, key):
    """It is not used in classification, and by models that predict their own variance."""
    model = mlp(4, likelihood=likelihood)
    plain, given = (dq.predict_vi_uq(model, inputs(), key=key, n_samples=3, aleatoric_var=v) for v in (None, 9.0))
    jax.tree.map(np.testing.assert_array_equal, plain, given)


def test_a_given_variance_replaces_a_known_one(key):
    model = mlp(likelihood=dq.Gaussian(0.3))
    result = dq.predict_vi_uq(model, inputs(), key=key, n_samples=3, aleatoric_var=2.0)
    np.testing.assert_allclose(result.aleatoric_var, 2.0)


def test_known_noise_of_the_likelihood_is_the_aleatoric_variance(key):
    result = dq.predict_vi_uq(mlp(likelihood=dq.Gaussian(0.3)), inputs(), key=key, n_samples=3)
    np.testing.assert_allclose(result.aleatoric_var, 0.09, rtol=1e-6)


# Two do not divide the five draws, and nine are more than there are.
@pytest.mark.slow
@pytest.mark.parametrize("draws_at_once", [2, 9])
def test_draws_side_by_side_are_the_same_draws(draws_at_once, key):
    model, labelled = mlp(), mlp(likelihood=dq.Categorical())
    x, y = inputs(), jnp.zeros(len(inputs()), int)
    plain, aside = (dq.predict_vi_uq(model, x, key=key, n_samples=5, draws_at_once=n) for n in (1, draws_at_once))
    np.testing.assert_allclose(aside.mean, plain.mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(aside.epistemic_var, plain.epistemic_var, rtol=1e-4, atol=1e-7)
    plain, aside = (
        dq.log_predictive_density(labelled, x, y, key=key, n_samples=5, draws_at_once=n) for n in (1, draws_at_once)
    )
    np.testing.assert_allclose(aside, plain, rtol=1e-5)


# Three do not divide the seven examples, and fifty are more than there are.
@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_batching_changes_nothing(batch_size, key):
    model, x = mlp(likelihood=dq.Categorical()), inputs()
    y = jnp.asarray([0, 1, 2, 0, 1, 2, 0])
    whole = dq.predict_vi_uq(model, x, key=key, n_samples=5)
    parts = dq.predict_vi_uq(model, x, key=key, n_samples=5, batch_size=batch_size)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), whole, parts)
    density = dq.log_predictive_density(model, x, y, key=key, n_samples=5)
    in_parts = dq.log_predictive_density(model, x, y, key=key, n_samples=5, batch_size=batch_size)
    np.testing.assert_allclose(density, in_parts, rtol=1e-5)


def test_noise_path_equals_key_path(key):
    model, x = mlp(), inputs()
    noises = [model.draw_noise(x, key=jax.random.fold_in(key, i)) for i in range(4)]
    noise = jax.tree.map(lambda *leaves: jnp.stack(leaves), *noises)
    by_key = dq.predict_vi_uq(model, x, key=key, n_samples=4)
    by_noise = dq.predict_vi_uq(model, x, noise=noise, n_samples=4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), by_key, by_noise)


@pytest.mark.slow
def test_jit_and_vmap_over_keys_models_and_inputs(key):
    model, x = mlp(likelihood=dq.Categorical()), inputs()

    def predict(m, x, k):
        return dq.predict_vi_uq(m, x, key=k, n_samples=4)

    eager = predict(model, x, key)
    jitted = jax.jit(predict)(model, x, key)
    assert jitted.metadata == eager.metadata
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), jitted, eager)
    keys = jax.random.split(key, 3)
    mapped = jax.vmap(predict, (None, None, 0))(model, x, keys)
    assert mapped.probs.shape == (3, 7, 3)
    np.testing.assert_allclose(mapped.probs[1], predict(model, x, keys[1]).probs, rtol=1e-5)
    models = jax.vmap(lambda k: dq.BayesByBackpropMLP(2, (6,), 3, rngs=nnx.Rngs(k)))(keys)
    assert jax.vmap(predict, (0, None, 0))(models, x, keys).mean.shape == (3, 7, 3)


def test_a_second_call_does_not_recompile(key):
    traces = []

    class Traced(dq.Categorical):
        def moments(self, outputs):
            traces.append(1)
            return super().moments(outputs)

    likelihood = Traced()
    for seed in range(3):
        model = dq.BayesByBackpropMLP(2, (6,), 3, rngs=nnx.Rngs(seed), likelihood=likelihood)
        dq.predict_vi_uq(model, inputs(), key=jax.random.key(seed), n_samples=4)
        if seed == 0:
            first = len(traces)
    assert len(traces) == first


def test_memory_does_not_grow_with_the_number_of_draws(key):
    model, x = mlp(), inputs(500)

    def size(n):
        predict = jax.jit(lambda m, x, k: dq.predict_vi_uq(m, x, key=k, n_samples=n))
        return predict.lower(model, x, key).compile().memory_analysis().temp_size_in_bytes

    assert size(1000) <= 1.01 * size(10) + 8 * 1000


def test_a_small_spread_around_a_hundred_keeps_its_variance(key):
    model = dq.bayesianize((lambda p, x: 100.0 + p * x, jnp.zeros(())), sigma=0.01)
    result = dq.predict_vi_uq(model, jnp.ones((1,)), key=key, n_samples=2000)
    error = 1e-4 * np.sqrt(2 / 2000)
    assert abs(float(result.epistemic_var[0]) - 1e-4) < tolerances.STANDARD_ERRORS * error


def test_log_predictive_density_is_the_log_of_the_mean(key):
    model = mlp(2, likelihood=dq.Gaussian(0.2))
    y = jnp.asarray(np.random.default_rng(1).normal(size=(7, 2)), jnp.float32)
    draws = naive(model, inputs(), key, 6)
    log_p = stats.norm.logpdf(np.asarray(y, float), draws, 0.2).sum(axis=-1)
    expected = np.logaddexp.reduce(log_p, axis=0) - np.log(6)
    actual = dq.log_predictive_density(model, inputs(), y, key=key, n_samples=6)
    np.testing.assert_allclose(actual, expected, rtol=1e-4)
    jitted = jax.jit(lambda m: dq.log_predictive_density(m, inputs(), y, key=key, n_samples=6))(model)
    np.testing.assert_allclose(jitted, actual, rtol=1e-5)


def test_intervals_cover_at_their_level():
    rng = np.random.default_rng(0)
    result = dq.UQResult(mean=jnp.zeros(20_000), total_var=jnp.full(20_000, 4.0))
    low, high = result.interval(0.9)
    y = rng.normal(0, 2, 20_000)
    covered = ((y > low) & (y < high)).mean()
    assert abs(covered - 0.9) < tolerances.STANDARD_ERRORS * np.sqrt(0.09 / 20_000)
    np.testing.assert_allclose(high, stats.norm.ppf(0.95) * 2, rtol=1e-5)


def test_results_are_pytrees_with_metadata_of_their_own():
    result = dq.UQResult(mean=jnp.zeros(2), metadata={"task": "regression", "method": "vi"})
    other = jax.tree.map(lambda leaf: leaf + 1, result)
    other.metadata["task"] = "changed"
    assert result.metadata["task"] == "regression"
    assert jax.tree.structure(result) == jax.tree.structure(
        dq.UQResult(mean=jnp.ones(2), metadata={"method": "vi", "task": "regression"})
    )
    first, second = dq.UQResult(mean=jnp.zeros(2)), dq.UQResult(mean=jnp.zeros(2))
    assert first.metadata is not second.metadata
    fields = ["mean", "epistemic_var", "aleatoric_var", "total_var", "probs", "probs_var", "metadata"]
    assert list(dq.UQResult.__dataclass_fields__)[:7] == fields


@pytest.mark.parametrize("bad", [0, -3, 2.0, True, None, "5"])
def test_counts_that_are_not_positive_ints_are_refused(bad, key):
    with pytest.raises(ValueError, match="Expected n_samples to be a positive int"):
        dq.predict_vi_uq(mlp(), inputs(), key=key, n_samples=bad)
    with pytest.raises(ValueError, match="Expected n_samples to be a positive int"):
        dq.log_predictive_density(mlp(), inputs(), np.zeros(7, int), key=key, n_samples=bad)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda k: dq.predict_vi_uq(mlp(), inputs()), TypeError, "Expected key"),
        (lambda k: dq.predict_vi_uq(mlp(), inputs()[:, :1], key=k), ValueError, "Expected x"),
        (lambda k: dq.predict_vi_uq(mlp(), inputs(), key=k, batch_size=0), ValueError, "Expected batch_size"),
        (
            lambda k: dq.predict_vi_uq(mlp(), inputs(), key=k, aleatoric_var=jnp.ones((7, 1, 3))),
            ValueError,
            "aleatoric",
        ),
        (lambda k: dq.predict_vi_uq(mlp(1), inputs(), key=k, aleatoric_var=jnp.ones(7)), ValueError, "aleatoric"),
        (
            lambda k: dq.log_predictive_density(mlp(likelihood=dq.Categorical()), inputs(), np.full(7, 3), key=k),
            ValueError,
            "labels from 0 to 2; got 3 to 3",
        ),
        (lambda k: dq.predict_vi_uq(mlp(), inputs(), key=k, aleatoric_var=-1.0), ValueError, "not negative"),
        (lambda k: dq.predict_vi_uq(mlp(), inputs(), key=k, aleatoric_var=np.nan), ValueError, "to be finite"),
        (lambda k: dq.predict_vi_uq(mlp(), inputs(), key=k, aleatoric_var="1"), TypeError, "to be a number"),
        (
            lambda k: dq.log_predictive_density(mlp(likelihood=dq.Categorical()), inputs(), np.zeros(7), key=k),
            TypeError,
            "integer labels",
        ),
        (lambda k: dq.UQResult(mean=jnp.zeros(1), total_var=jnp.ones(1)).interval(1.5), ValueError, "level"),
        (lambda k: dq.UQResult(mean=jnp.zeros(1)).interval(), ValueError, "total_var"),
    ],
)
def test_bad_input_is_refused(call, error, message, key):
    with pytest.raises(error, match=message):
        call(key)
