"""Diagnostics: importance weights and k-hat against known values, and a finding for each known fault."""

import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy import stats

import deepuq_jax as dq
from deepuq_jax import diagnostics
from deepuq_jax.diagnostics.weights import weight_tensors
from deepuq_jax.model.own import as_model
from deepuq_jax.model.posteriors import with_kl_rule
from deepuq_jax.posterior import AtDraw
from deepuq_jax.tests import tolerances

# Together, these tests take too long for `make check`.
pytestmark = pytest.mark.slow

NOISE = 0.5


def orthogonal(n=16, d=3):
    """Return a problem whose exact posterior is a mean-field Gaussian, since its columns are orthogonal."""
    rng = np.random.default_rng(0)
    x = 2 * np.linalg.qr(rng.normal(size=(n, d)))[0]
    y = x @ rng.normal(size=d) + NOISE * rng.normal(size=n)
    precision = np.diag(x.T @ x) / NOISE**2 + 1
    mean = x.T @ y / NOISE**2 / precision
    evidence = stats.multivariate_normal(np.zeros(n), x @ x.T + NOISE**2 * np.eye(n)).logpdf(y)
    return x, y[:, None], mean, 1 / np.sqrt(precision), evidence


def linear(mean, sigma, prior=dq.GaussianPrior(0.0, 1.0)):
    """Build a layer without bias that has the given posterior."""
    dtype = jnp.asarray(mean).dtype
    options = dict(use_bias=False, prior=prior, param_dtype=dtype, rngs=nnx.Rngs(0))
    layer = dq.BayesianLinear(len(mean), 1, **options)
    rho = dq.functional.rho_from_sigma(jnp.asarray(sigma, dtype))
    layer.kernel_posterior.set_value(dq.GaussianPosterior(jnp.asarray(mean)[:, None], rho[:, None]))
    return layer


# --------------------------------------------------------------------------------------------------- importance weights


def test_if_q_is_the_exact_posterior_every_weight_equals_the_evidence(x64, key):
    x, y, mean, sigma, evidence = orthogonal()
    options = dict(key=key, n_samples=50, log_likelihood=dq.Gaussian(NOISE))
    for prior in (dq.GaussianPrior(0.0, 1.0), dq.GaussianPrior(0.0, jnp.ones((3, 1)))):
        weights = diagnostics.log_importance_weights(linear(mean, sigma, prior), x, y, batch_size=8, **options)
        np.testing.assert_allclose(weights, evidence, rtol=tolerances.SUMS["float64"])
    assert diagnostics.pareto_khat(weights) == -np.inf


@pytest.mark.parametrize("how", ["layers", "bayesianize", "a dict of layers", "last layer"])
def test_weights_match_terms_computed_from_the_drawn_network(how, key):
    """A log weight is log p(y | f) + log p(w) - log q(w), where all terms come from the fixed network."""
    rngs, prior, x = nnx.Rngs(0), dq.GaussianPrior(0.1, 0.5), jnp.linspace(-1, 1, 12).reshape(6, 2)
    y = x[:, :1]
    net = nnx.Linear(2, 1, rngs=rngs)
    model = {
        "layers": lambda: dq.BayesByBackpropMLP(2, (3,), 1, prior=prior, estimator=dq.weight_sampling, rngs=rngs),
        "bayesianize": lambda: dq.bayesianize(net, sigma=0.2, prior=prior),
        "a dict of layers": lambda: TwoHeads(prior),
        "last layer": lambda: dq.LastLayerVariationalInference(jnp.tanh, 2, 1, prior=prior, rngs=rngs),
    }[how]()
    likelihood = dq.Gaussian(NOISE)
    got = diagnostics.log_importance_weights(model, x, y, key=key, n_samples=2, log_likelihood=likelihood)

    @jax.jit
    def of_draw(model, i):
        fixed = as_model(model).draw_for_kl(key=jax.random.fold_in(key, i))
        drawn = [leaf for leaf in jax.tree.leaves(fixed) if jnp.issubdtype(leaf.dtype, jnp.floating)]
        return likelihood(fixed(x), y).sum(), drawn

    for i, value in enumerate(got):
        want, drawn = of_draw(model, i)
        tensors = weight_tensors(model)
        # The leaves of the drawn network are in the order of their names, biases before kernels.
        tensors = sorted(tensors, key=lambda tensor: (tensor.layer, tensor.path))
        for w, tensor in zip(drawn, tensors, strict=True):
            sigma = np.logaddexp(0, np.asarray(tensor.rho))
            want += stats.norm(0.1, 0.5).logpdf(w).sum() - stats.norm(tensor.mu, sigma).logpdf(w).sum()
        np.testing.assert_allclose(value, want, rtol=1e-4)


class TwoHeads(nnx.Module):
    """A user's own class that has layers and `__call__`, but no `kl`."""

    def __init__(self, prior):
        rngs = nnx.Rngs(1)
        self.heads = nnx.Dict(
            a=dq.BayesianLinear(2, 1, prior=prior, rngs=rngs), b=dq.BayesianLinear(2, 1, prior=prior, rngs=rngs)
        )

    def __call__(self, x, *, key=None):
        first, second = (None, None) if key is None else jax.random.split(key)
        return self.heads["a"](x, key=first) + self.heads["b"](x, key=second)


def test_with_kl_rule_leaves_the_given_model_unchanged():
    model = dq.BayesByBackpropMLP(2, (3,), 1, rngs=nnx.Rngs(0))
    before = float(model.kl())
    opened = with_kl_rule(model, AtDraw())
    with pytest.raises(dq.KeyRequiredError):
        opened.kl()
    assert float(model.kl()) == before


def test_a_kl_that_ignores_its_key_is_refused(key):
    class Stubborn(dq.BayesianLinear):
        def kl(self, key=None, *, noise=None):
            return jnp.ones(())

    model = Stubborn(1, 1, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="depend on the key"):
        diagnostics.log_importance_weights(
            model, jnp.ones((2, 1)), jnp.ones((2, 1)), key=key, log_likelihood=dq.Gaussian()
        )


def test_khat_of_a_narrow_gaussian_is_the_exact_tail_index(x64, key):
    """For q = N(m, (c s)^2) against N(m, s^2), the tail of the weights has the Pareto shape k = 1 - c^2."""
    x, y, mean, sigma, _ = orthogonal(d=1)
    ks = {}
    for c in (0.4, 0.7, 0.9, 1.2):
        options = dict(key=key, n_samples=20_000, log_likelihood=dq.Gaussian(NOISE))
        ks[c] = diagnostics.pareto_khat(diagnostics.log_importance_weights(linear(mean, c * sigma), x, y, **options))
    # The tail also has a slowly varying factor, a power of a logarithm. At this number of draws, the factor biases the
    # fit by up to a tenth.
    for c in (0.4, 0.7, 0.9):
        assert abs(ks[c] - (1 - c**2)) < 0.15
    assert ks[1.2] < 0  # The weights are bounded.


def test_khat_ignores_draws_of_weight_zero_and_refuses_nan():
    weights = np.random.default_rng(0).normal(size=1000)
    some = weights.copy()
    some[np.argsort(weights)[:100]] = -np.inf
    assert diagnostics.pareto_khat(some) == diagnostics.pareto_khat(weights)
    assert diagnostics.pareto_khat(weights + 1e4) == pytest.approx(diagnostics.pareto_khat(weights))
    for bad in (np.append(weights, np.nan), np.append(weights, np.inf), weights[:20], weights[:, None]):
        with pytest.raises(ValueError, match="Expected log_weights"):
            diagnostics.pareto_khat(bad)


def test_without_arviz_stats_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz_stats.base.array", None)
    with pytest.raises(ImportError, match=r"deepuq-jax\[diagnostics\]"):
        diagnostics.pareto_khat(np.zeros(100))


# ------------------------------------------------------------------------------------------------------ health of a fit


def test_an_exact_fit_is_healthy(key):
    x, y, mean, sigma, evidence = orthogonal()
    model, likelihood = linear(jnp.float32(mean), jnp.float32(sigma)), dq.Gaussian(NOISE)
    health = dq.diagnose(model, x, y, key=key, log_likelihood=likelihood)
    assert health.khat < 0.3
    assert health.elbo == pytest.approx(evidence, rel=1e-5)
    assert health.findings == ()
    assert health.temperature == 1
    np.testing.assert_allclose(health.kl, model.kl(), rtol=1e-5)
    quantiles = np.quantile(np.abs(mean) / sigma, [0.05, 0.25, 0.5, 0.75, 0.95])
    np.testing.assert_allclose(health.layers[0].signal_to_noise, quantiles, rtol=1e-5)
    assert str(health).endswith("No problems were found.")
    assert "16 examples, 1,000 draws" in str(health)


@pytest.mark.slow
def test_khat_reports_a_banana_shaped_posterior(key):
    """The data depend only on w1 - w0^2, so the posterior is bent, and no mean-field Gaussian is near it."""
    likelihood, x, y = dq.Gaussian(0.03), jnp.ones((4, 1)), jnp.zeros((4, 4))
    banana = (lambda w, x: x * (w[1] - w[0] ** 2)[None], jnp.stack([jnp.full(4, 0.5), jnp.full(4, 0.3)]))
    model = dq.bayesianize(banana, sigma=0.1, prior=dq.GaussianPrior(0.0, 2.0), likelihood=likelihood)
    optimizer = optax.adam(optax.cosine_decay_schedule(0.02, 1000))
    objective = dq.ELBO(kl_weight=dq.schedules.linear(750), mc_samples=8)
    model = dq.fit(model, x, y, key=key, objective=objective, epochs=1000, optimizer=optimizer).model
    health = dq.diagnose(model, x, y, key=key)
    assert health.khat > 0.7
    assert any("k-hat" in finding for finding in health.findings)
    assert f"k-hat {health.khat:.2f}" in str(health)


@pytest.fixture(scope="module")
def waves():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (64, 1)).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(np.sin(3 * x) + 0.5 * rng.normal(size=x.shape).astype(np.float32))


@jax.jit
def step_by_step(x, y, kl_weight):
    """Train a wide network by `vi_elbo_step`, as a user would."""
    options = dict(prior=dq.GaussianPrior(0.0, 1.0), likelihood=dq.Gaussian(NOISE), activation="tanh")
    model, batch = dq.BayesByBackpropMLP(1, (48,), 1, rngs=nnx.Rngs(0), **options), 16
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, 3000))

    def step(carry, i):
        model, state = carry
        rows = jax.random.permutation(jax.random.key(i), len(x))[:batch]

        def loss(m):
            return dq.vi_elbo_step(
                m, x[rows], y[rows], num_batches=len(x) // batch, kl_weight=kl_weight, key=jax.random.key(i)
            )[0]

        updates, state = optimizer.update(jax.grad(loss)(model), state)
        return (optax.apply_updates(model, updates), state), None

    return jax.lax.scan(step, (model, optimizer.init(model)), jnp.arange(3000))[0][0]


@pytest.mark.slow
def test_a_mean_loss_under_vi_elbo_step_is_reported_with_the_pruned_layer(waves, key):
    x, y = waves
    model = step_by_step(x, y, kl_weight=1.0)
    health = dq.diagnose(model, x, y, key=key, num_batches=4)
    assert health.temperature == 16
    heavy, pruned = health.findings[:2]
    assert re.match(r"The KL was weighted 16 times .*kl_weight = 1 / batch_size", heavy)
    assert re.match(r"Layer layers\.0 is over-pruned: \d+% of its weights \(96 in all\) are still at the prior", pruned)
    right = step_by_step(x, y, kl_weight=1 / 16)
    health = dq.diagnose(right, x, y, key=key, num_batches=4, kl_weight=1 / 16)
    assert health.temperature == 1
    assert not any("over-pruned" in finding or "weighted" in finding for finding in health.findings)


def test_a_posterior_near_a_point_and_one_near_the_prior_are_told_apart(waves, key):
    x, y = waves
    options = dict(key=key, log_likelihood=dq.Gaussian(NOISE), n_samples=100)
    point = linear(np.float32([1.0]), np.float32([1e-4]))
    assert any("nearly a point" in finding for finding in dq.diagnose(point, x, y, **options).findings)
    empty = linear(np.float32([0.01]), np.float32([1.0]))
    findings = dq.diagnose(empty, x, y, **options).findings
    assert any("Hardly any weight" in finding for finding in findings)
    assert any("Layer model is over-pruned: 100% of its weights (1 in all)" in finding for finding in findings)
    cold = dq.diagnose(empty, x, y, kl_weight=0.1, **options).findings
    assert "cold posterior" in cold[0]


def test_temperature_of_every_objective():
    temperature = diagnostics.effective_temperature
    assert temperature(600) == temperature(600, num_data=600) == 1
    assert temperature(600, num_data=60) == 10  # The size of a batch is passed as the size of the data.
    assert temperature(600, kl_weight=0.1) == pytest.approx(0.1)
    assert temperature(600, num_batches=6) == 100
    assert temperature(600, num_batches=6, kl_weight=1 / 100) == pytest.approx(1)
    with pytest.raises(ValueError, match="only one of num_data and num_batches"):
        temperature(600, num_data=600, num_batches=6)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (dict(n_samples=50), "n_samples"),
        (dict(num_batches=0), "num_batches"),
        (dict(kl_weight=float("nan")), "kl_weight"),
        (dict(y=jnp.zeros(64)), "y"),
        (dict(model=linear(np.float32([np.nan]), np.float32([1.0]))), "the posterior at kernel"),
    ],
)
def test_bad_arguments_are_refused(waves, key, change, error):
    x, y = waves
    arguments = dict(model=linear(np.float32([1.0]), np.float32([1.0])), x=x, y=y) | change
    with pytest.raises(ValueError, match=f"Expected {error}"):
        dq.diagnose(**arguments, key=key, log_likelihood=dq.Gaussian(NOISE))
