"""Likelihoods one by one: their own probabilities, what they refuse, and masks and weights."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import special, stats

import deepuq_jax as dq
from deepuq_jax.likelihoods.base import Likelihood
from deepuq_jax.tests import tolerances

# Together, these tests take too long for `make check`.
pytestmark = pytest.mark.slow

KEY = jax.random.key(0)


def inputs(n=6):
    return jnp.asarray(np.random.default_rng(0).normal(size=(n, 2)), jnp.float32)


def linear(outputs, likelihood=None, sigma=0.5):
    layer = dq.BayesianLinear(2, outputs, sigma_init=sigma, rngs=nnx.Rngs(0))
    return dq.Sequential(layer, likelihood=likelihood)


def draws_of(model, x, n):
    draw = jax.jit(lambda i: model(x, key=jax.random.fold_in(KEY, i)))
    return np.stack([np.asarray(draw(i), np.float64) for i in range(n)])


def entropy(probs):
    return -special.xlogy(probs, probs).sum(axis=-1)


@dataclass(frozen=True)
class Tempered(dq.Categorical):
    """Probabilities that are not the softmax of the outputs."""

    def moments(self, outputs):
        return jax.nn.softmax(outputs / 3, axis=-1), None


@dataclass(frozen=True)
class OneColumn(Likelihood):
    task = "classification"

    def log_prob(self, outputs, y):
        return jax.nn.log_sigmoid(outputs[:, 0])

    def moments(self, outputs):
        return jax.nn.sigmoid(outputs), None


@pytest.mark.parametrize(
    ("likelihood", "width", "probs_of"),
    [
        (Tempered(), 3, lambda o: special.softmax(o / 3, axis=-1)),
        (dq.Bernoulli(), 1, lambda o: np.concatenate([special.expit(-o), special.expit(o)], axis=-1)),
        (dq.Bernoulli(), 2, lambda o: np.stack([special.expit(-o), special.expit(o)], axis=-1)),
        (dq.Categorical(class_weights=(1, 2, 3), label_smoothing=0.1), 3, lambda o: special.softmax(o, axis=-1)),
    ],
)
def test_entropies_are_those_of_the_likelihoods_own_probabilities(likelihood, width, probs_of):
    """Compare the entropies with those of all draws."""
    model = linear(width, likelihood)
    probs = probs_of(draws_of(model, inputs(), 7))
    result = dq.predict_vi_uq(model, inputs(), key=KEY, n_samples=7)
    np.testing.assert_allclose(result.probs, probs.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(result.predictive_entropy, entropy(probs.mean(axis=0)), rtol=1e-5)
    information = entropy(probs.mean(axis=0)) - entropy(probs).mean(axis=0)
    np.testing.assert_allclose(result.mutual_information, information, rtol=1e-3, atol=1e-6)
    outputs = model(inputs())
    draws = np.asarray(jax.jit(jax.vmap(lambda k: likelihood.sample(outputs, key=k)))(jax.random.split(KEY, 4000)))
    share = probs_of(np.asarray(outputs, np.float64))[..., 1]
    error = np.sqrt(share * (1 - share) / 4000)
    assert (abs((draws == 1).mean(axis=0) - share) < tolerances.STANDARD_ERRORS * error).all()


def test_a_single_column_of_probabilities_is_refused():
    """The entropy of a single column would be wrong."""
    with pytest.raises(ValueError, match=r"of at least two classes; got float32\[6, 1\]. For one logit"):
        dq.predict_vi_uq(linear(1, OneColumn()), inputs(), key=KEY)
    with pytest.raises(ValueError, match="probabilities of at least two classes"):
        dq.metrics.brier_score(jnp.ones((3, 1)), jnp.zeros(3, int))


def test_categorical_with_one_output_is_refused():
    """The softmax of one logit is always 1."""
    y = jnp.zeros(6, int)
    for call in (
        lambda: dq.fit(linear(1, dq.Categorical()), inputs(), y, key=KEY, epochs=1),
        lambda: dq.predict_vi_uq(linear(1, dq.Categorical()), inputs(), key=KEY),
        lambda: dq.predict_vi_uq(linear(1), inputs(), key=KEY, apply_softmax=True),
        lambda: dq.Categorical(label_smoothing=0.1)(jnp.zeros((6, 1)), y),
    ):
        with pytest.raises(ValueError, match=r"at least two classes .*Use Bernoulli\(\) for one logit"):
            call()


def test_a_model_without_a_likelihood_is_refused():
    """Otherwise, training and prediction could assume different likelihoods."""
    x, y = inputs(), jnp.zeros(6, int)
    for call in (
        lambda: dq.fit(linear(3), x, y, key=KEY, epochs=1),
        lambda: dq.ELBO(6)(linear(3), x, y, key=KEY),
        lambda: dq.log_predictive_density(linear(3), x, y, key=KEY),
    ):
        with pytest.raises(ValueError, match=r"Expected likelihood to be named .*; got none. Choose Categorical\(\)"):
            call()
    named = dq.ELBO(6, log_likelihood=dq.Categorical())(linear(3), x, y, key=KEY)[0]
    documented = dq.vi_elbo_step(linear(3), x, y, num_batches=6, key=KEY)[0]
    np.testing.assert_allclose(named, documented, rtol=1e-6)


@pytest.mark.parametrize("weights", [(1.0, 2.0, 0.5), None])
@pytest.mark.parametrize("smoothing", [0.2, 0.0])
def test_class_weights_and_label_smoothing_are_the_weighted_cross_entropy(weights, smoothing):
    logits, y = np.random.default_rng(0).normal(size=(5, 3)), np.array([0, 2, 1, 1, 0])
    likelihood = dq.Categorical(class_weights=weights, label_smoothing=smoothing)
    target = (1 - smoothing) * np.eye(3)[y] + smoothing / 3
    share = target * np.asarray(weights or (1.0, 1.0, 1.0))
    expected = (share * special.log_softmax(logits, axis=-1)).sum(axis=-1)
    np.testing.assert_allclose(likelihood(jnp.asarray(logits), y), expected, rtol=1e-5)


def test_class_weights_of_any_numbers_are_kept_as_a_tuple():
    weighted = dq.Categorical(class_weights=[1.0, 2.0, np.float32(0.5)])
    assert hash(weighted) == hash(dq.Categorical(class_weights=(1.0, 2.0, 0.5)))


def test_bernoulli_is_categorical_over_zero_and_the_logit():
    logits, y = jnp.linspace(-40, 40, 9)[:, None], jnp.arange(9) % 2
    both = jnp.concatenate([jnp.zeros_like(logits), logits], axis=1)
    for outputs, labels in ((logits, y), (logits[:, 0], y > 0)):
        np.testing.assert_allclose(dq.Bernoulli()(outputs, labels), dq.Categorical()(both, y), rtol=1e-6, atol=1e-7)
    assert dq.Bernoulli().moments(logits)[0].shape == (9, 2)
    result = dq.predict_vi_uq(linear(2, dq.Bernoulli()), inputs(), key=KEY)
    assert result.probs.shape == (6, 2, 2)
    assert result.predictive_entropy.shape == (6, 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: dq.Bernoulli()(jnp.zeros((4, 1)), jnp.zeros((4, 1), int)), ValueError, r"y of shape \[4\]"),
        (lambda: dq.Bernoulli()(jnp.zeros((4, 2)), jnp.zeros(4, int)), ValueError, r"y of shape \[4, 2\]"),
        (lambda: dq.Bernoulli()(jnp.zeros((4, 1)), jnp.zeros(4)), TypeError, "integer or bool labels"),
        (lambda: dq.Bernoulli()(jnp.zeros((2, 1)), np.array([0, 2])), ValueError, "labels from 0 to 1; got 0 to 2"),
        (lambda: dq.Poisson()(jnp.zeros((2, 1)), np.array([[1], [-1]])), ValueError, "counts, whole numbers from 0"),
        (lambda: dq.Poisson()(jnp.zeros((2, 1)), np.array([[1.0], [0.5]])), ValueError, "0.5 among its entries"),
        (lambda: dq.Poisson()(jnp.zeros((2, 1)), np.zeros(2)), ValueError, r"y of shape \[2, 1\]"),
        (lambda: dq.NegativeBinomial(-1.0), ValueError, "dispersion to be finite and above zero"),
        (lambda: dq.NegativeBinomial()(jnp.zeros((2, 3)), jnp.zeros((2, 1))), ValueError, "d means"),
        (lambda: dq.StudentT()(jnp.zeros((2, 2)), jnp.zeros((2, 1))), ValueError, r"3 d\]: d locations"),
        (lambda: dq.LogNormal(0.1)(jnp.zeros((2, 1)), np.array([[1.0], [0.0]])), ValueError, "positive for LogNormal"),
        (lambda: dq.LogNormal(jnp.ones(())), TypeError, "sigma to be a Python number"),
        (lambda: dq.Categorical(class_weights=(1.0, 0.0)), ValueError, r"class_weights\[1\] to be finite and above"),
        (lambda: dq.Categorical(class_weights=jnp.ones(2)), TypeError, "class_weights to be a tuple"),
        (lambda: dq.Categorical(class_weights=(1, 1))(jnp.zeros((2, 3)), np.zeros(2, int)), ValueError, "3 classes"),
        (lambda: dq.Categorical(label_smoothing=1.0), ValueError, "from 0 to below 1"),
        (lambda: dq.Masked(dq.Gaussian())(jnp.zeros((2, 1)), jnp.zeros((2, 1))), ValueError, "to be a pair"),
        (lambda: dq.Masked(dq.Gaussian())(jnp.zeros((2, 1)), (jnp.zeros((2, 1)), jnp.ones(2))), TypeError, "bool"),
        (
            lambda: dq.Masked(dq.Gaussian())(jnp.zeros((2, 3)), (jnp.zeros((2, 3)), jnp.ones((2, 2), bool))),
            ValueError,
            r"of shape \[batch\] or of the shape of the targets, \[2, 3\]",
        ),
        (
            lambda: dq.Weighted(dq.Gaussian())(jnp.zeros((2, 1)), (jnp.zeros((2, 1)), np.array([1.0, -1.0]))),
            ValueError,
            "zero or above; got -1.0",
        ),
        (lambda: dq.fit(linear(1, dq.Gaussian), inputs(), inputs(), key=KEY), TypeError, "an instance, such as Gau"),
        (
            lambda: dq.predict_vi_uq(linear(1, dq.Poisson()), inputs(), key=KEY, aleatoric_var=1.0),
            ValueError,
            "aleatoric_var to be None with Poisson",
        ),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_number_of_numpy_is_a_number():
    """Users write `Gaussian(np.std(y))`."""
    assert dq.Gaussian(np.std(np.arange(3.0))) == dq.Gaussian(float(np.std(np.arange(3.0))))


@pytest.mark.parametrize("mean", [1.0, 1e2, 1e4])
def test_counts_keep_float32(mean):
    """The error of a log-probability is that of a float32 log rate, even where y log(rate) and log y! are 1e5."""
    y = np.round(mean * np.array([[0.8], [1.0], [1.3]]))
    log_mean = np.full_like(y, np.log(mean), np.float32)
    exact = np.exp(np.float64(log_mean))
    slope = np.abs(y - exact) * np.spacing(np.float32(np.log(mean + 1))) + 1e-5
    error = np.abs(dq.Poisson().log_prob_per_target(log_mean, y) - stats.poisson.logpmf(y, exact))
    assert (error < 2 * slope).all()
    law = stats.nbinom(1 / 1e-3, 1 / (1 + np.float64(np.float32(1e-3)) * exact))
    error = np.abs(dq.NegativeBinomial(1e-3).log_prob_per_target(log_mean, y) - law.logpmf(y))
    assert (error < 2 * slope + 1e-4).all()


@pytest.mark.parametrize(
    ("objective", "shape"),
    [
        pytest.param(dq.ELBO(), (6, 2), id="ELBO, per target"),
        pytest.param(dq.DocumentedELBO(2), (6,), id="DocumentedELBO, per example"),
        pytest.param(dq.ELBO(), (6,), id="ELBO, per example", marks=pytest.mark.long),
        pytest.param(dq.DocumentedELBO(2), (6, 2), id="DocumentedELBO, per target", marks=pytest.mark.long),
    ],
)
def test_masked_targets_change_nothing(objective, shape):
    """The mask follows the rows of a minibatch, and masked values do not matter."""
    model, mask = linear(2, dq.Masked(dq.Poisson())), jnp.asarray(np.random.default_rng(1).random(shape) < 0.6)
    y = jnp.asarray(np.random.default_rng(2).integers(0, 5, (6, 2)))
    wide = mask if mask.ndim == 2 else mask[:, None]
    losses = []
    for other in (y, jnp.where(wide, y, -7)):
        fitted = dq.fit(model, inputs(), (other, mask), key=KEY, objective=objective, epochs=4, batch_size=3)
        losses.append(fitted.history["loss"])
    np.testing.assert_array_equal(*losses)
    per_target = dq.Poisson().log_prob_per_target(model(inputs()), y)
    expected = (np.asarray(per_target) * np.asarray(wide)).sum(axis=1)
    np.testing.assert_allclose(model.likelihood(model(inputs()), (y, mask)), expected, rtol=1e-6)


def test_masked_labels_may_be_minus_one_and_observed_ones_are_checked():
    likelihood, logits = dq.Masked(dq.Categorical()), jnp.zeros((3, 2))
    values = likelihood(logits, (np.array([-1, 0, 1]), np.array([False, True, True])))
    np.testing.assert_allclose(values, [0.0, -np.log(2), -np.log(2)], rtol=1e-6)
    with pytest.raises(ValueError, match="labels from 0 to 1; got 0 to 2"):
        likelihood(logits, (np.array([-1, 0, 2]), np.array([False, True, True])))


def test_a_weight_of_two_counts_twice():
    x, y = inputs(4), jnp.asarray(np.random.default_rng(2).normal(size=(4, 1)), jnp.float32)
    model, weight = linear(1), jnp.array([1.0, 2.0, 0.0, 1.0])
    rows = np.repeat(np.arange(4), [1, 2, 0, 1])
    weighted = dq.ELBO(4, log_likelihood=dq.Weighted(dq.Gaussian(0.5)))(model, x, (y, weight), key=KEY)[0]
    repeated = dq.ELBO(4, log_likelihood=dq.Gaussian(0.5))(model, x[rows], y[rows], key=KEY)[0]
    np.testing.assert_allclose(weighted, repeated, rtol=1e-6)


def test_validation_data_are_pairs_too():
    x, y = inputs(), (jnp.zeros((6, 1)), jnp.ones(6, bool))
    result = dq.fit(linear(1, dq.Masked(dq.Gaussian())), x, y, key=KEY, validation_data=(x, y), epochs=2, patience=1)
    assert np.isfinite(result.history["val_nll"]).all()


def test_a_plain_function_trains_and_prediction_says_what_it_lacks():
    def log_likelihood(outputs, y):
        return -jnp.square(outputs - y).sum(axis=-1)

    model = linear(1, log_likelihood)
    model = dq.fit(model, inputs(), jnp.zeros((6, 1)), key=KEY, epochs=1).model
    with pytest.raises(ValueError, match=r"to define moments\(outputs\) -> .*Inherit from Likelihood and add"):
        dq.predict_vi_uq(model, inputs(), key=KEY)
