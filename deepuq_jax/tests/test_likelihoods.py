"""Likelihoods one by one: their own probabilities, what they refuse, masks and weights, and outputs in a dict."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
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
    """Finding A2: the mutual information against brute force over the draws."""
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
    """Finding A2: its entropy would be wrong."""
    with pytest.raises(ValueError, match=r"of at least two classes; got float32\[6, 1\]. For one logit"):
        dq.predict_vi_uq(linear(1, OneColumn()), inputs(), key=KEY)
    with pytest.raises(ValueError, match="probabilities of at least two classes"):
        dq.metrics.brier_score(jnp.ones((3, 1)), jnp.zeros(3, int))


def test_categorical_with_one_output_is_refused():
    """Finding A6: the softmax of one logit is always 1."""
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
    """Finding A5: fit took Categorical() while predict_vi_uq took a regression."""
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


def test_class_weights_and_label_smoothing_are_the_weighted_cross_entropy():
    logits, y = np.random.default_rng(0).normal(size=(5, 3)), np.array([0, 2, 1, 1, 0])
    log_p = special.log_softmax(logits, axis=-1)
    weights, smoothing = np.array([1.0, 2.0, 0.5]), 0.2
    target = (1 - smoothing) * np.eye(3)[y] + smoothing / 3
    likelihood = dq.Categorical(class_weights=(1.0, 2.0, 0.5), label_smoothing=smoothing)
    np.testing.assert_allclose(likelihood(jnp.asarray(logits), y), (target * weights * log_p).sum(axis=-1), rtol=1e-5)
    weighted = dq.Categorical(class_weights=[1.0, 2.0, np.float32(0.5)])
    assert hash(weighted) == hash(dq.Categorical(class_weights=(1.0, 2.0, 0.5)))
    np.testing.assert_allclose(weighted(jnp.asarray(logits), y), weights[y] * log_p[np.arange(5), y], rtol=1e-5)


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
    """Finding E: `Gaussian(np.std(y))`."""
    assert dq.Gaussian(np.std(np.arange(3.0))) == dq.Gaussian(float(np.std(np.arange(3.0))))


@pytest.mark.parametrize("mean", [1.0, 1e2, 1e4])
def test_counts_keep_float32(mean):
    """The error of a log-probability is that of a float32 log rate, also where y log(rate) and log y! are 1e5."""
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
    """Finding C: the pair follows the rows of a minibatch, and what is masked does not matter."""
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
    """Finding C: a bare AttributeError."""

    def log_likelihood(outputs, y):
        return -jnp.square(outputs - y).sum(axis=-1)

    model = linear(1, log_likelihood)
    model = dq.fit(model, inputs(), jnp.zeros((6, 1)), key=KEY, epochs=1).model
    with pytest.raises(ValueError, match=r"to define moments\(outputs\) -> .*Inherit from Likelihood and add"):
        dq.predict_vi_uq(model, inputs(), key=KEY)


@dataclass(frozen=True)
class Exponential(Likelihood):
    """A waiting time with a log rate: everything but the distribution function."""

    def log_prob(self, outputs, y):
        return (outputs - jnp.exp(outputs) * y).sum(axis=-1)

    def moments(self, outputs):
        return jnp.exp(-outputs), jnp.exp(-2 * outputs)


@dataclass(frozen=True)
class ExponentialWithCdf(Exponential):
    def cdf(self, outputs, t):
        return -jnp.expm1(-jnp.exp(outputs) * jnp.maximum(t, 0.0))


def test_an_own_likelihood_is_scored_by_itself_and_never_as_a_gaussian():
    """Finding C: with `moments`, interval and negative_log_likelihood were those of a Gaussian."""
    x, y = inputs(), jnp.ones((6, 1))
    model = linear(1, Exponential())
    result = dq.predict_vi_uq(model, x, key=KEY, n_samples=5)
    density = dq.log_predictive_density(model, x, y, key=KEY, n_samples=5)
    np.testing.assert_allclose(dq.metrics.negative_log_likelihood(result, y), -density, rtol=1e-5)
    for call in (result.interval, lambda: dq.metrics.interval_coverage(result, y)):
        with pytest.raises(
            ValueError, match=r"to define cdf\(outputs, t\), for quantiles and intervals; got Exponenti"
        ):
            call()
    with pytest.raises(ValueError, match="crps_from_draws"):
        dq.metrics.crps(result, y)
    result = dq.predict_vi_uq(linear(1, ExponentialWithCdf()), x, key=KEY, n_samples=5)
    rates = np.exp(draws_of(model, x, 5))
    for bound, p in zip(result.interval(0.8), (0.1, 0.9), strict=True):
        np.testing.assert_allclose(-np.expm1(-rates * bound[None]).mean(axis=0), p, atol=1e-5)


def test_poisson_is_scored_as_a_poisson():
    """Finding C: NLL 1.60 for 1.37, and a lower bound of -0.77."""
    x, y = inputs(), jnp.asarray(np.random.default_rng(0).poisson(1.0, (6, 1)))
    model = linear(1, dq.Poisson(), sigma=0.1)
    result = dq.predict_vi_uq(model, x, key=KEY, n_samples=9)
    rates = np.exp(draws_of(model, x, 9))
    nll = -np.log(stats.poisson.pmf(np.asarray(y)[None], rates).mean(axis=0))[:, 0]
    np.testing.assert_allclose(dq.metrics.negative_log_likelihood(result, y), nll, rtol=1e-5)
    np.testing.assert_allclose(result.aleatoric_var, rates.mean(axis=0), rtol=1e-5)
    low, high = result.interval(0.9)
    assert (low >= 0).all()
    np.testing.assert_array_equal(high, np.round(high))
    parts = dq.predict_vi_uq(model, x, key=KEY, n_samples=9, batch_size=4, draws_at_once=2)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), result, parts)
    by_moments = dq.predict_vi_uq(model, x, key=KEY, n_samples=9, method="moments")
    assert by_moments.mixture is not None


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TwoHeads:
    """One layer, with outputs in a dict."""

    layer: Any

    def __call__(self, x, *, key=None):
        outputs = self.layer(x, key=key)
        return {"size": outputs[:, :1], "kind": outputs[:, 1:]}

    @property
    def likelihood(self):
        return OverHeads()


@dataclass(frozen=True)
class OverHeads(Likelihood):
    """The sum over both heads; the prediction is the size."""

    def log_prob(self, outputs, y):
        return dq.Gaussian(0.5)(outputs["size"], y["size"]) + dq.Categorical()(outputs["kind"], y["kind"])


@dataclass(frozen=True)
class SizeOnly(OverHeads):
    def moments(self, outputs):
        return dq.Gaussian(0.5).moments(outputs["size"])

    def cdf(self, outputs, t):
        return dq.Gaussian(0.5).cdf(outputs["size"], t)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Head:
    """One output of a model with outputs in a dict, as docs/likelihoods.md shows."""

    model: Any
    name: str = field(metadata={"static": True})
    likelihood: Any = field(metadata={"static": True})

    def __call__(self, x, *, key=None):
        return self.model(x, key=key)[self.name]


def test_outputs_in_a_dict_train_and_predict_head_by_head():
    """Finding B5: "'dict' object has no attribute 'shape'"."""
    layer = dq.BayesianLinear(2, 4, sigma_init=0.5, rngs=nnx.Rngs(0))
    model, x, y = TwoHeads(layer), inputs(), {"size": jnp.zeros((6, 1)), "kind": jnp.zeros(6, int)}
    model = dq.fit(model, x, y, key=KEY, epochs=2).model
    with pytest.raises(ValueError, match=r"Expected likelihood to define moments\(outputs\)"):
        dq.predict_vi_uq(model, x, key=KEY)
    size, kind = (
        dq.predict_vi_uq(Head(model, name, likelihood), x, key=KEY, n_samples=4)
        for name, likelihood in (("size", dq.Gaussian(0.5)), ("kind", dq.Categorical()))
    )
    draws = [model(x, key=jax.random.fold_in(KEY, i)) for i in range(4)]
    np.testing.assert_allclose(size.mean, np.mean([d["size"] for d in draws], axis=0), rtol=1e-4, atol=1e-6)
    probs = np.mean([special.softmax(d["kind"], axis=-1) for d in draws], axis=0)
    np.testing.assert_allclose(kind.probs, probs, rtol=1e-5)


def test_an_own_likelihood_may_pick_its_moments_from_a_dict():
    """Finding B5: what it keeps of the draws is the dict."""

    class Model(TwoHeads):
        likelihood = SizeOnly()

    jax.tree_util.register_dataclass(Model, data_fields=["layer"], meta_fields=[])
    model = Model(dq.BayesianLinear(2, 4, sigma_init=0.5, rngs=nnx.Rngs(0)))
    result = dq.predict_vi_uq(model, inputs(), key=KEY, n_samples=4, batch_size=4)
    assert result.mixture is not None
    assert result.mean.shape == result.interval()[0].shape == (6, 1)
    y = {"size": jnp.zeros((6, 1)), "kind": jnp.zeros(6, int)}
    density = dq.log_predictive_density(model, inputs(), y, key=KEY, n_samples=4)
    np.testing.assert_allclose(result.mixture.log_prob(y), density, rtol=1e-5)


def test_a_dict_without_a_likelihood_is_refused_with_a_sentence():
    """Finding B5."""

    class Model(TwoHeads):
        likelihood = None

    jax.tree_util.register_dataclass(Model, data_fields=["layer"], meta_fields=[])
    model = Model(dq.BayesianLinear(2, 4, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match=r"to be an array .*; got dict\. Predict one output of a dict at a time"):
        dq.predict_vi_uq(model, inputs(), key=KEY)


@pytest.mark.slow
def test_learned_student_t_noise_finds_the_scale_and_the_tails():
    """Against the maximum likelihood of scipy, on the residuals of a constant."""
    rng = np.random.default_rng(0)
    y = (1.0 + 0.3 * rng.standard_t(4, (400, 1))).astype(np.float32)
    x = np.ones((400, 1), np.float32)
    model = dq.Sequential(
        dq.BayesianLinear(1, 1, rngs=nnx.Rngs(0)), dq.LearnedStudentTNoise(1), likelihood=dq.StudentT()
    )
    model = dq.fit(model, x, y, key=KEY, epochs=400, batch_size=400, optimizer=optax.adam(0.03)).model
    df, loc, scale = stats.t.fit(y[:, 0])
    found_loc, raw_scale, raw_df = np.asarray(model(x[:1]), np.float64)[0]
    assert found_loc == pytest.approx(loc, abs=0.05)
    assert np.sqrt(np.logaddexp(0, raw_scale)) == pytest.approx(scale, rel=0.1)
    assert 2 + np.logaddexp(0, raw_df) == pytest.approx(df, rel=0.4)


@pytest.mark.parametrize("likelihood", [dq.LogNormal(), dq.NegativeBinomial()])
def test_learned_noise_serves_the_positive_targets_too(likelihood):
    model = dq.Sequential(dq.BayesianLinear(2, 1, rngs=nnx.Rngs(0)), dq.LearnedNoise(1), likelihood=likelihood)
    before = float(model.layers[1].raw_var[0])
    model = dq.fit(model, inputs(), jnp.full((6, 1), 3), key=KEY, epochs=3).model
    assert float(model.layers[1].raw_var[0]) != before
    assert dq.predict_vi_uq(model, inputs(), key=KEY, n_samples=3).interval()[0].shape == (6, 1)
