"""The contracts of priors, for all classes in `priors.__all__`."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import integrate, stats

import deepuq_jax as dq
from deepuq_jax import priors
from deepuq_jax.posterior import AtDraw
from deepuq_jax.tests import tolerances
from deepuq_jax.tests.test_contracts import numbers

# Together, these tests take too long for `make check`.
pytestmark = pytest.mark.slow

GAUSSIAN = {"log_likelihood": dq.Gaussian(0.5)}
prior_contract = pytest.mark.parametrize(
    "prior_class", [getattr(priors, n) for n in priors.__all__ if inspect.isclass(getattr(priors, n))]
)


def one_weight():
    return dq.GaussianPosterior(jnp.full((1,), 0.15, float), dq.functional.rho_from_sigma(jnp.full((1,), 0.2, float)))


def density_of(prior, q):
    """Return the log density of single weights under the prior that is resolved for q."""
    prior = prior.resolve(q.mu, q.rho)
    return jax.jit(jax.vmap(lambda w: prior.log_prob(w[None])))


@prior_contract
def test_prior_log_prob_integrates_to_one(prior_class, x64):
    # The grid w = 1e-4 sinh(t) is fine around 0, where a prior may have a peak, and reaches far into the tails.
    log_density = density_of(prior_class(), one_weight())
    for sign in (-1, 1):
        t = np.linspace(0, 20, 20_001)
        density = np.exp(log_density(jnp.asarray(sign * 1e-4 * np.sinh(t)))) * 1e-4 * np.cosh(t)
        assert integrate.simpson(density, x=t) == pytest.approx(0.5, abs=1e-9)


@prior_contract
def test_prior_kl_is_the_integral(prior_class, x64):
    prior, q = prior_class(), one_weight()
    exact, log_density = 0.0, density_of(prior, q)
    for ends in ((0.15 - 12 * 0.2, 0.0), (0.0, 0.15 + 12 * 0.2)):
        grid = np.linspace(*ends, 40_001)
        log_q = stats.norm.logpdf(grid, 0.15, 0.2)
        exact += integrate.simpson(np.exp(log_q) * (log_q - np.asarray(log_density(jnp.asarray(grid)))), x=grid)
    if prior.resolve(q.mu, q.rho).has_closed_form_kl:
        np.testing.assert_allclose(q.kl(prior), exact, rtol=1e-8)
    else:
        assert "no closed form" in prior_class.__doc__
        with pytest.raises(dq.KeyRequiredError):
            q.kl(prior)
    # The estimate at a draw has this mean for every prior, with or without a closed form.
    estimator = dataclasses.replace(q, kl_rule=AtDraw())
    estimates = jax.jit(jax.vmap(lambda k: estimator.kl(prior, key=k)))(jax.random.split(jax.random.key(0), 20_000))
    error = float(estimates.std()) / np.sqrt(estimates.size)
    assert abs(float(estimates.mean()) - exact) < tolerances.STANDARD_ERRORS * error


@pytest.mark.slow
@prior_contract
def test_prior_is_static_with_numbers_and_carried_with_arrays(prior_class, key):
    if getattr(prior_class, "is_learned", False):
        assert len(jax.tree.leaves(prior_class())) == 1
        return
    assert jax.tree.leaves(prior_class()) == []
    assert hash(prior_class()) == hash(prior_class())

    @jax.jit  # One program per structure of the prior: a new number is a new treedef, an array is not.
    def kl(prior):
        return dq.BayesianLinear(2, 1, prior=prior, rngs=nnx.Rngs(0)).kl(key)

    for field in prior_class.SCALES:
        layer = dq.BayesianLinear(2, 1, prior=prior_class(**{field: jnp.asarray(0.3)}), rngs=nnx.Rngs(0))
        params, rest = dq.partition(layer)
        assert len(jax.tree.leaves(params)) == 4
        assert len(jax.tree.leaves(rest)) == 1
        plain = kl(prior_class(**{field: 0.3}))
        np.testing.assert_allclose(jax.jit(lambda layer: layer.kl(key))(layer), plain, rtol=1e-5)
        swept = jax.vmap(lambda scale, field=field: kl(prior_class(**{field: scale})))(np.float32([0.1, 0.3, 1.0]))
        np.testing.assert_allclose(swept[1], plain, rtol=1e-5)
        assert np.unique(swept).size == 3


@prior_contract
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), np.array([0.1, -0.1])])
def test_prior_refuses_a_bad_scale(prior_class, value):
    for field in getattr(prior_class, "SCALES", ()):
        with pytest.raises(ValueError, match=f"Expected prior {field}"):
            prior_class(**{field: value})


@prior_contract
def test_prior_trains_in_a_model(prior_class, key):
    """The compiled gradients are finite for every parameter, even for extreme posteriors."""
    model, x = dq.BayesianLinear(3, 2, prior=prior_class(), sigma_init=1e-4, rngs=nnx.Rngs(0)), numbers(5, 3)
    params, rest = dq.partition(model)

    @jax.jit
    def grads(params):
        model = dq.combine(params, rest)
        return jax.grad(lambda m: dq.negative_elbo(m, x, numbers(5, 2), key=key, num_data=5, **GAUSSIAN)[0])(model)

    for scaled in (params, jax.tree.map(lambda p: 10 * p, params)):
        for path, grad in jax.tree_util.tree_leaves_with_path(grads(scaled)):
            assert np.isfinite(grad).all(), path
            assert np.any(grad != 0), path
