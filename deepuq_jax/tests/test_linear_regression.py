"""Training reaches the analytic optimum of Bayesian linear regression.

In Bayesian linear regression with known noise, the best mean-field Gaussian has the exact posterior mean and the
variances 1 / Lambda_ii of the exact posterior precision Lambda = X^T X / noise^2 + I / prior_sigma^2; the ELBO there is
log evidence - KL(q || posterior), in closed form.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy import stats

import deepuq_jax as dq

NOISE, PRIOR_SIGMA, N = 0.4, 1.0, 60


def problem():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 3)) @ np.array([[1.0, 0.4, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 1.0]])
    y = x @ np.array([0.7, -0.4, 0.2]) + 0.3 + rng.normal(0, NOISE, N)
    design = np.column_stack([x, np.ones(N)])
    precision = design.T @ design / NOISE**2 + np.eye(4) / PRIOR_SIGMA**2
    mean = np.linalg.solve(precision, design.T @ y) / NOISE**2
    covariance = design @ design.T * PRIOR_SIGMA**2 + NOISE**2 * np.eye(N)
    evidence = stats.multivariate_normal(np.zeros(N), covariance).logpdf(y)
    # In KL(q || posterior) of the best q, the means agree and only the volumes differ.
    gap = 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])
    return x, y[:, None], mean, 1 / np.sqrt(np.diag(precision)), evidence - gap


def layer(dtype):
    zeros = nnx.initializers.zeros_init()
    prior = dq.GaussianPrior(0.0, PRIOR_SIGMA)
    return dq.BayesianLinear(3, 1, prior=prior, kernel_init=zeros, sigma_init=0.2, param_dtype=dtype, rngs=nnx.Rngs(0))


def parameters(model):
    kernel, bias = model.kernel_posterior, model.bias_posterior
    mu = np.append(np.asarray(kernel.mu), np.asarray(bias.mu))
    return mu, np.append(np.asarray(kernel.sigma), np.asarray(bias.sigma))


def short(batch_size):
    """Return options of `fit` whose steps shrink to zero, so that the noise averages out."""
    steps = 1500 * -(-N // batch_size)
    optimizer = optax.adam(optax.cosine_decay_schedule(0.03, steps))
    return dict(optimizer=optimizer, epochs=1500, batch_size=batch_size)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "kl_weight"),
    [
        pytest.param(short(25), 1.0, id="batches of 25", marks=pytest.mark.long),
        # With nothing set, `fit` takes the whole batch, its own number of steps and rate, and this warm-up.
        pytest.param({}, dq.schedules.linear(7_500), id="nothing set"),
    ],
)
def test_fit_reaches_the_best_mean_field_posterior(options, kl_weight, x64, key):
    x, y, mean, sigma, elbo = problem()
    objective = dq.ELBO(kl_weight=kl_weight, log_likelihood=dq.Gaussian(NOISE), mc_samples=16)
    model = dq.fit(layer(jnp.float64), x, y, key=key, objective=objective, **options).model
    mu, sd = parameters(model)
    np.testing.assert_array_less(np.abs(mu - mean) / sigma, 0.1)
    np.testing.assert_allclose(sd, sigma, rtol=0.02)
    n = 20_000
    losses = jax.lax.map(
        lambda k: dq.negative_elbo(model, x, y, key=k, num_data=N, log_likelihood=dq.Gaussian(NOISE))[0],
        jax.random.split(key, n),
        batch_size=500,
    )
    error = float(losses.std()) / np.sqrt(n)
    # The optimum is flat, so the distance that the bounds above allow costs only terms of second order.
    slack = 4 * (0.1**2 / 2 + 0.02**2) / N
    assert abs(float(losses.mean()) + elbo / N) < 5 * error + slack


def test_the_elbo_at_the_optimum_is_its_closed_form_and_its_gradient_vanishes(x64, key):
    x, y, mean, sigma, elbo = problem()
    model = layer(jnp.float64)
    rho = np.asarray(dq.functional.rho_from_sigma(jnp.asarray(sigma)))
    model.kernel_posterior.set_value(dq.GaussianPosterior(jnp.asarray(mean[:3, None]), jnp.asarray(rho[:3, None])))
    model.bias_posterior.set_value(dq.GaussianPosterior(jnp.asarray(mean[3:]), jnp.asarray(rho[3:])))
    # The loss is quadratic in the noise, so its exact expectation is the mean over the eight noises of +-sqrt(4) in one
    # of the four directions.
    points = 2.0 * np.concatenate([np.eye(4), -np.eye(4)])
    noise = {"kernel": jnp.asarray(points[:, :3, None]), "bias": jnp.asarray(points[:, 3:])}

    def loss(model):
        options = dict(mc_samples=8, num_data=N, log_likelihood=dq.Gaussian(NOISE))
        return dq.negative_elbo(model, x, y, noise=noise, **options)[0]

    value, grads = jax.jit(jax.value_and_grad(loss))(model)
    np.testing.assert_allclose(-float(value) * N, elbo, rtol=1e-10)
    for leaf in jax.tree.leaves(grads):
        np.testing.assert_allclose(leaf, 0.0, atol=1e-10)
