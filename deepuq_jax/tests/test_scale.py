"""Sigma as a training step takes it: its polynomials, and derivatives by log sigma against those by rho."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
from flax import nnx

import deepuq_jax as dq
from deepuq_jax.functional import gaussian, scale
from deepuq_jax.tests import reference, tolerances

RHO = np.concatenate([np.linspace(-1000, 1000, 41), np.linspace(-120, 120, 49), np.linspace(-4, 4, 17)])


def log1p_ratio(e):
    poly = lambda coefficients: sum(mpmath.mpf(c) * e**i for i, c in enumerate(coefficients))
    return poly(scale.LOG1P_NUMERATOR) / poly(scale.LOG1P_DENOMINATOR)


def exact_log1p_ratio(e):
    return mpmath.log1p(e) / e


def test_log1p_coefficients_solve_for_the_chebyshev_nodes():
    nodes = [(1 - mpmath.cos(mpmath.pi * (2 * k + 1) / 14)) / 2 for k in range(7)]
    rows = [[1, e, e**2, e**3, *(-exact_log1p_ratio(e) * e**i for i in (1, 2, 3))] for e in nodes]
    solution = mpmath.lu_solve(mpmath.matrix(rows), mpmath.matrix([exact_log1p_ratio(e) for e in nodes]))
    np.testing.assert_allclose(
        [*scale.LOG1P_NUMERATOR, *scale.LOG1P_DENOMINATOR[1:]], [float(c) for c in solution], rtol=1e-9
    )


def test_log1p_is_right_between_the_nodes():
    points = [mpmath.mpf(i) / 1000 for i in range(1, 1001)]
    assert max(abs(log1p_ratio(e) / exact_log1p_ratio(e) - 1) for e in points) < 3e-9


def test_the_tangent_of_a_scale_is_that_of_log_sigma(dtype):
    rho = RHO.astype(dtype)
    sigma, log_sigma_dot = jax.jit(lambda r: jax.jvp(scale.scale_from_rho, (r,), (jnp.ones_like(r),)))(rho)
    exact = reference.log_sigma_gradient(rho)
    np.testing.assert_allclose(log_sigma_dot, exact, rtol=tolerances.CLOSED_FORM[dtype.name])
    np.testing.assert_allclose(sigma, gaussian.sigma_from_rho(rho), rtol=4 * tolerances.ulp(dtype))


def test_draw_and_kl_at_a_scale_have_the_gradients_by_rho(x64, key):
    """One scale for both, as in a step, against sigma from rho in each: the same numbers in both modes."""
    mu, rho, noise = jax.random.normal(key, (3, 50)) * jnp.array([[1.0], [3.0], [1.0]])
    prior_mu, prior_sigma = jnp.asarray(0.3), jnp.asarray(0.7)

    def shared(mu, rho, prior_mu, prior_sigma):
        sigma = scale.scale_from_rho(rho)
        w = scale.draw_at_scale(mu, sigma, noise)
        kl = gaussian.gaussian_kl_at_scale(mu, sigma, rho, prior_mu, prior_sigma)
        return jnp.sum(jnp.sin(w) + kl + scale.sigma_of_scale(sigma) ** 2)

    def apart(mu, rho, prior_mu, prior_sigma):
        sigma = jnp.logaddexp(rho, 0.0)
        kl = jnp.log(prior_sigma / sigma) + (sigma**2 + (mu - prior_mu) ** 2) / (2 * prior_sigma**2) - 0.5
        return jnp.sum(jnp.sin(mu + sigma * noise) + kl + sigma**2)

    args = (mu, rho, prior_mu, prior_sigma)
    for mode in (jax.grad, jax.jacfwd):
        ours, theirs = (mode(f, argnums=(0, 1, 2, 3))(*args) for f in (shared, apart))
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=tolerances.SUMS["float64"], atol=1e-12)


def test_an_objective_takes_forward_mode_and_second_derivatives(key):
    model = dq.BayesianLinear(2, 1, rngs=nnx.Rngs(0))
    x, y = jnp.ones((4, 2)), jnp.ones((4, 1))
    loss = lambda m: dq.negative_elbo(m, x, y, key=key, num_data=4, log_likelihood=dq.Gaussian(0.5))[0]
    tangent = jax.tree.map(jnp.ones_like, model)
    _, forward = jax.jvp(loss, (model,), (tangent,))
    backward = sum(jnp.sum(g) for g in jax.tree.leaves(jax.grad(loss)(model)))
    np.testing.assert_allclose(forward, backward, rtol=1e-5)
    _, product = jax.jvp(jax.grad(loss), (model,), (tangent,))
    assert all(np.isfinite(leaf).all() and np.any(leaf != 0) for leaf in jax.tree.leaves(product))
