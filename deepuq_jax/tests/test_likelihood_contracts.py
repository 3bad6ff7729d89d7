"""The contracts of likelihoods, for all names in `likelihoods.__all__`."""

from dataclasses import dataclass, fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import special, stats

import deepuq_jax as dq
from deepuq_jax import likelihoods
from deepuq_jax.tests import tolerances
from deepuq_jax.tests.profiles import small_profile

# Together, these tests take too long for `make check`.
pytestmark = pytest.mark.slow

# JAX's incomplete gamma and beta functions have errors of 1e-7 in float32, for means around 1 and probabilities around
# 0.5. The t distribution adds the error of its argument.
CDF = {"float32": 2e-5, "float64": 1e-10}
KEY = jax.random.key(0)


@dataclass(frozen=True)
class Case:
    """A likelihood, the size of its outputs per target, and its distribution of targets in scipy."""

    likelihood: Any
    parts: int
    law: Any

    def outputs(self, dtype=np.float32):
        return np.random.default_rng(0).normal(size=(6, 2 * self.parts)).astype(dtype)

    def scipy(self, outputs):
        """The distribution of the targets [..., 2], in double precision."""
        return self.law(*np.split(np.asarray(outputs, np.float64), self.parts, axis=-1))

    def targets(self, outputs):
        y = self.scipy(outputs).rvs(random_state=np.random.default_rng(1))
        return y.astype(np.int32) if self.likelihood.is_discrete else y.astype(outputs.dtype)


def softplus(x):
    return np.logaddexp(0, x)


def variance(raw):
    return softplus(raw) + 1e-6


def nbinom(f, dispersion):
    return stats.nbinom(1 / dispersion, 1 / (1 + dispersion * np.exp(f)))


def gaussian(m):
    return stats.norm(m, 0.7)


CASES = {
    "Bernoulli": Case(dq.Bernoulli(), 1, lambda o: stats.bernoulli(special.expit(o))),
    "Gaussian": Case(dq.Gaussian(0.7), 1, gaussian),
    "HeteroscedasticGaussian": Case(dq.HeteroscedasticGaussian(), 2, lambda m, v: stats.norm(m, np.sqrt(variance(v)))),
    "HomoscedasticGaussian": Case(dq.HomoscedasticGaussian(), 2, lambda m, v: stats.norm(m, np.sqrt(variance(v)))),
    "LogNormal": Case(dq.LogNormal(0.4), 1, lambda m: stats.lognorm(0.4, scale=np.exp(m))),
    "LogNormal, learned": Case(dq.LogNormal(), 2, lambda m, v: stats.lognorm(np.sqrt(variance(v)), scale=np.exp(m))),
    "Masked": Case(dq.Masked(dq.Gaussian(0.7)), 1, gaussian),
    "NegativeBinomial": Case(dq.NegativeBinomial(0.5), 1, lambda f: nbinom(f, 0.5)),
    "NegativeBinomial, learned": Case(dq.NegativeBinomial(), 2, lambda f, raw: nbinom(f, variance(raw))),
    "Poisson": Case(dq.Poisson(), 1, lambda f: stats.poisson(np.exp(f))),
    "StudentT": Case(dq.StudentT(), 3, lambda m, s, df: stats.t(2 + softplus(df), loc=m, scale=np.sqrt(variance(s)))),
    "Weighted": Case(dq.Weighted(dq.Poisson()), 1, lambda f: stats.poisson(np.exp(f))),
}
NUMBERS = [name for name, case in CASES.items() if case.likelihood.task == "regression"]
MIXTURES = [name for name in NUMBERS if CASES[name].likelihood.keeps_draws]
# In `make test`, the tests that train run for labels, a Gaussian, a continuous and a discrete mixture, and both kinds
# of pairs. The functions of each likelihood are checked against scipy for all cases.
KINDS = ["Bernoulli", "HeteroscedasticGaussian", "LogNormal", "Masked", "Weighted"]


def paired(case, y, factor=None):
    """The targets as the likelihood takes them: with a mask or weights that change nothing."""
    if isinstance(case.likelihood, dq.Masked):
        return y, jnp.ones(y.shape, bool) if factor is None else factor
    if isinstance(case.likelihood, dq.Weighted):
        return y, jnp.ones(y.shape) if factor is None else factor
    return y


def log_pdf(law, y):
    return law.logpmf(y) if hasattr(law, "logpmf") and not hasattr(law.dist, "pdf") else law.logpdf(y)


def test_every_likelihood_has_a_case():
    """Categorical and UnknownNoise have tests of their own in test_likelihoods.py: they have no scipy distribution."""
    named = {name.split(",")[0] for name in CASES} | {"Categorical", "UnknownNoise"}
    assert named == set(likelihoods.__all__)


@pytest.mark.parametrize("name", CASES)
def test_log_prob_agrees_with_scipy(name, dtype):
    case = CASES[name]
    outputs = case.outputs(dtype)
    y = case.targets(outputs)
    expected = log_pdf(case.scipy(outputs), np.asarray(y, np.float64)).sum(axis=-1)
    actual = jax.jit(case.likelihood.log_prob)(jnp.asarray(outputs), paired(case, jnp.asarray(y)))
    assert actual.dtype == dtype
    np.testing.assert_allclose(actual, expected, rtol=tolerances.SUMS[dtype.name], atol=tolerances.SUMS[dtype.name])


@pytest.mark.parametrize("name", NUMBERS)
def test_moments_cdf_and_quantiles_agree_with_scipy(name, dtype):
    case = CASES[name]
    outputs = case.outputs(dtype)
    law = case.scipy(outputs)
    t = np.asarray(law.mean() + np.linspace(-2, 3, 12).reshape(6, 2) * law.std(), dtype)

    @jax.jit  # One program for all, since each eager operation would be one.
    def values(outputs, t):
        quantiles = jax.vmap(lambda p: case.likelihood.quantile(outputs, p))(np.array([0.025, 0.5], dtype))
        bounds = case.likelihood.interval(outputs, 0.8)
        return case.likelihood.moments(outputs), case.likelihood.cdf(outputs, t), [*quantiles, *bounds]

    (mean, var), share, quantiles = values(outputs, t)
    np.testing.assert_allclose(mean, law.mean(), rtol=tolerances.SUMS[dtype.name])
    np.testing.assert_allclose(var, law.var(), rtol=20 * tolerances.SUMS[dtype.name])
    np.testing.assert_allclose(share, law.cdf(t), atol=CDF[dtype.name])
    for quantile, p in zip(quantiles, (0.025, 0.5, 0.1, 0.9), strict=True):
        assert quantile.dtype == dtype
        if case.likelihood.is_discrete:
            np.testing.assert_array_equal(quantile, law.ppf(p))
        else:
            np.testing.assert_allclose(law.cdf(np.asarray(quantile, np.float64)), p, atol=5 * CDF[dtype.name])


@pytest.mark.parametrize("name", small_profile(NUMBERS, [*KINDS[1:], "NegativeBinomial, learned", "StudentT"]))
def test_samples_follow_the_cdf(name):
    """Compare shares of the draws with the cdf, since some of these distributions lack higher moments."""
    case = CASES[name]
    n, outputs = 4000, case.outputs()
    keys = jax.random.split(KEY, n)
    draws = np.asarray(jax.vmap(lambda k: case.likelihood.sample(outputs, key=k))(keys), np.float64)
    law = case.scipy(outputs)
    for p in (0.2, 0.5, 0.9):
        t = law.ppf(p)
        share = law.cdf(t)
        error = np.sqrt(share * (1 - share) / n)
        assert (abs((draws <= t).mean(axis=0) - share) < tolerances.STANDARD_ERRORS * error).all()


@pytest.mark.parametrize("name", CASES)
def test_a_likelihood_is_static_and_hashable_and_its_class_is_refused(name):
    likelihood = CASES[name].likelihood
    assert hash(likelihood) == hash(CASES[name].likelihood)
    assert likelihood == type(likelihood)(**{f.name: getattr(likelihood, f.name) for f in fields(likelihood)})
    with pytest.raises(TypeError, match="to be an instance"):
        dq.ELBO(log_likelihood=type(likelihood))
    with pytest.raises((AttributeError, TypeError)):
        likelihood.task = "other"


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_finite_far_out_and_vmap_agrees(name):
    """Take outputs of +-30, and targets that are nearly impossible for them."""
    case = CASES[name]
    outputs = 30.0 * np.sign(case.outputs())

    def log_prob(outputs, y):
        return case.likelihood.log_prob(outputs, paired(case, y))

    gradient = jax.jit(jax.grad(lambda outputs, y: log_prob(outputs, y).sum()))
    for y in (case.targets(case.outputs()), case.targets(outputs / 15)):
        assert np.isfinite(gradient(outputs, y)).all()
    stacked = np.stack([case.outputs(), outputs])
    mapped = jax.jit(jax.vmap(log_prob, in_axes=(0, None)))(stacked, y)
    np.testing.assert_allclose(mapped[0], jax.jit(log_prob)(stacked[0], y), rtol=1e-5)


@pytest.mark.parametrize("name", small_profile(CASES, KINDS))
def test_trains_predicts_and_scores(name):
    """Scores are those of the likelihood itself, and never those of a Gaussian with its moments."""
    case = CASES[name]
    outputs = case.outputs()
    x = jnp.asarray(np.random.default_rng(3).normal(size=(6, 2)), jnp.float32)
    y = jnp.asarray(case.targets(outputs))
    model = dq.BayesianLinear(2, 2 * case.parts, rngs=nnx.Rngs(0))
    model = dq.Sequential(model, likelihood=case.likelihood)
    fitted = dq.fit(model, x, paired(case, y), key=KEY, objective=dq.ELBO(), epochs=3, batch_size=3)
    assert np.isfinite(fitted.history["loss"]).all()
    result = dq.predict_vi_uq(fitted.model, x, key=KEY, n_samples=5)
    density = dq.log_predictive_density(fitted.model, x, paired(case, y), key=KEY, n_samples=5)
    draws = np.stack([fitted.model(x, key=jax.random.fold_in(KEY, i)) for i in range(5)])
    log_p = log_pdf(case.scipy(draws), np.asarray(y, np.float64)[None]).sum(axis=-1)
    np.testing.assert_allclose(density, special.logsumexp(log_p, axis=0) - np.log(5), rtol=1e-4, atol=1e-5)
    assert (result.mixture is not None) == (name in MIXTURES)
    if name in MIXTURES:
        np.testing.assert_allclose(dq.metrics.negative_log_likelihood(result, y), -density, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", small_profile(MIXTURES, ["LogNormal", "Poisson", "StudentT", "Weighted"]))
def test_intervals_are_those_of_the_mixture(name):
    """Compare the bounds with scipy's distribution functions, averaged over the draws."""
    case = CASES[name]
    draws = np.stack([case.outputs() + shift for shift in (-1.0, 0.0, 0.5)], axis=1)
    likelihood = case.likelihood.of_targets()
    mixture = likelihoods.mixture.PredictiveMixture(jnp.asarray(draws), likelihood)
    result = dq.UQResult(mean=jnp.zeros((6, 2)), total_var=jnp.ones((6, 2)), mixture=mixture)
    laws = [case.scipy(draws[:, s]) for s in range(3)]

    def cdf(t):
        return np.mean([law.cdf(np.asarray(t, np.float64)) for law in laws], axis=0)

    for bound, p in zip(result.interval(0.9), (0.05, 0.95), strict=True):
        if likelihood.is_discrete:
            assert (cdf(bound) >= p - 1e-6).all()
            assert (cdf(np.asarray(bound) - 1) < p).all()
        else:
            np.testing.assert_allclose(cdf(bound), p, atol=1e-4)
    y = jnp.asarray(case.targets(case.outputs()))
    low, high = result.interval(0.9)
    assert float(dq.metrics.interval_coverage(result, y, level=0.9)) == pytest.approx(np.mean((low <= y) & (y <= high)))
    jitted = jax.jit(lambda r: r.interval(0.9))(result)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), jitted, (low, high))
    with pytest.raises(ValueError, match="crps_from_draws"):
        dq.metrics.crps(result, y)
    score = dq.metrics.crps_from_draws(mixture.sample(key=KEY), y.astype(jnp.float32))
    assert score.shape == (6, 2)


@pytest.mark.parametrize("name", ["LogNormal", "LogNormal, learned"])
def test_gradient_of_a_quantile_is_that_of_the_implicit_function(name, x64):
    case = CASES[name]
    mixture = likelihoods.mixture.PredictiveMixture(
        jnp.asarray(np.stack([case.outputs(np.float64)] * 2, axis=1) + np.array([0.0, 0.5])[None, :, None]),
        case.likelihood,
    )

    def total(shift, p):
        moved = jax.tree.map(lambda leaf: leaf + shift, mixture)
        return moved.quantile(p).sum()

    for argument, at in ((0, (0.0, 0.3)), (1, (0.0, 0.3))):
        step = np.eye(2)[argument] * 1e-5
        numeric = (total(*(np.array(at) + step)) - total(*(np.array(at) - step))) / 2e-5
        np.testing.assert_allclose(jax.grad(total, argument)(*at), numeric, rtol=1e-6)
