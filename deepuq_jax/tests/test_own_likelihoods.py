"""Likelihoods of a user's own class, outputs in a dict, and learned noise beyond the Gaussian."""

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
from deepuq_jax.tests.test_likelihoods import KEY, draws_of, inputs, linear

# Together, these tests take too long for `make check`.
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Exponential(Likelihood):
    """The law of a waiting time with a log rate, without its distribution function."""

    def log_prob(self, outputs, y):
        return (outputs - jnp.exp(outputs) * y).sum(axis=-1)

    def moments(self, outputs):
        return jnp.exp(-outputs), jnp.exp(-2 * outputs)


@dataclass(frozen=True)
class ExponentialWithCdf(Exponential):
    def cdf(self, outputs, t):
        return -jnp.expm1(-jnp.exp(outputs) * jnp.maximum(t, 0.0))


def test_an_own_likelihood_is_scored_by_itself_and_never_as_a_gaussian():
    """The score is that of the mixture over the draws. Without a `cdf`, there are no intervals."""
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
    """A Gaussian with the same moments would have another score, and intervals below 0."""
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
    """The result keeps the whole dict of each draw."""

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
    class Model(TwoHeads):
        likelihood = None

    jax.tree_util.register_dataclass(Model, data_fields=["layer"], meta_fields=[])
    model = Model(dq.BayesianLinear(2, 4, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match=r"to be an array .*; got dict\. Predict one output of a dict at a time"):
        dq.predict_vi_uq(model, inputs(), key=KEY)


@pytest.mark.slow
def test_learned_student_t_noise_finds_the_scale_and_the_tails():
    """Compare with the maximum likelihood fit of scipy to the same targets."""
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
def test_learned_noise_works_for_positive_targets_and_counts_too(likelihood):
    model = dq.Sequential(dq.BayesianLinear(2, 1, rngs=nnx.Rngs(0)), dq.LearnedNoise(1), likelihood=likelihood)
    before = float(model.layers[1].raw_var[0])
    model = dq.fit(model, inputs(), jnp.full((6, 1), 3), key=KEY, epochs=3).model
    assert float(model.layers[1].raw_var[0]) != before
    assert dq.predict_vi_uq(model, inputs(), key=KEY, n_samples=3).interval()[0].shape == (6, 1)
