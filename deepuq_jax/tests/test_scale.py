"""Sigma in a training step: its polynomials, and derivatives in log sigma, compared with those in rho."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import jax.test_util
import mpmath
import numpy as np
import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax.functional import gaussian, scale
from deepuq_jax.tests import reference, tolerances

RHO = np.concatenate([np.linspace(-1000, 1000, 41), np.linspace(-120, 120, 49), np.linspace(-4, 4, 17)])


def log1p_ratio(e):
    def poly(coefficients):
        return sum(mpmath.mpf(c) * e**i for i, c in enumerate(coefficients))

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
    np.testing.assert_allclose(log_sigma_dot.value, exact, rtol=tolerances.CLOSED_FORM[dtype.name])
    np.testing.assert_allclose(sigma.value, gaussian.sigma_from_rho(rho), rtol=4 * tolerances.ulp(dtype))


def test_a_small_weight_of_the_kl_reaches_rho_where_sigma_is_tiny():
    """The derivative of the KL in rho is -1 there, and a weight of 1e-7 must not make it underflow."""
    rho = np.asarray([-30.0, -60.0, -80.0, -87.0], np.float32)
    gradient = jax.grad(lambda rho: 1e-7 * gaussian.gaussian_kl(jnp.zeros(4), rho, 0.0, 0.5).sum())(rho)
    np.testing.assert_allclose(gradient, np.full(4, -1e-7), rtol=tolerances.CLOSED_FORM["float32"])


def test_the_kl_is_not_negative_where_sigma_and_that_of_the_prior_are_smallest():
    """A sigma that is flushed to zero has a log close to that of the smallest normal number."""
    rho = np.linspace(-90.0, -86.0, 81, dtype=np.float32)
    kl = gaussian.gaussian_kl(np.zeros_like(rho), rho, 0.0, np.finfo(np.float32).tiny)
    assert (np.asarray(kl) >= 0.0).all()


def draw_and_kl_at_a_scale(mu, rho, prior_mu, prior_sigma, noise):
    """Sum a draw, a KL and a variance that share a scale, as in a training step."""
    sigma = scale.scale_from_rho(rho)
    w = scale.draw_at_scale(mu, sigma, noise)
    kl = gaussian.gaussian_kl_at_scale(mu, sigma, rho, prior_mu, prior_sigma)
    return jnp.sum(jnp.sin(w) + kl + scale.sigma_of_scale(sigma) ** 2)


def draw_and_kl_by_the_formulas(mu, rho, prior_mu, prior_sigma, noise):
    """Compute the same sum, with the ordinary derivatives of the formulas."""
    sigma = jnp.logaddexp(rho, 0.0)
    kl = jnp.log(prior_sigma / sigma) + (sigma**2 + (mu - prior_mu) ** 2) / (2 * prior_sigma**2) - 0.5
    return jnp.sum(jnp.sin(mu + sigma * noise) + kl + sigma**2)


@pytest.fixture
def arguments(x64, key):
    mu, rho, noise = jax.random.normal(key, (3, 20)) * jnp.array([[1.0], [3.0], [1.0]])
    return mu, rho.at[0].set(0.0), jnp.asarray(0.3), jnp.asarray(0.7), noise


@pytest.mark.parametrize("derivative", [jax.grad, jax.jacfwd, jax.hessian], ids=["backward", "forward", "second"])
def test_draw_and_kl_at_a_scale_have_the_derivatives_in_rho(derivative, arguments):
    """If several terms share a scale, the derivatives are those of sigma computed from rho, at rho = 0 too."""
    of = (0, 1, 2, 3, 4)
    ours = jax.jit(derivative(draw_and_kl_at_a_scale, argnums=of))(*arguments)
    plain = jax.jit(derivative(draw_and_kl_by_the_formulas, argnums=of))(*arguments)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerances.SUMS["float64"], atol=1e-11)


@pytest.mark.slow
def test_an_objective_has_forward_mode_and_second_derivatives(x64, key):
    """The gradient and the Hessian agree with finite differences of the loss and of its gradient."""
    model = dq.BayesianLinear(2, 1, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    flat, unravel = jax.flatten_util.ravel_pytree(model)
    x, y = jnp.ones((4, 2)), jnp.ones((4, 1))

    @jax.jit
    def loss(flat):
        return dq.negative_elbo(unravel(flat), x, y, key=key, num_data=4, log_likelihood=dq.Gaussian(0.5))[0]

    jax.test_util.check_grads(loss, (flat,), order=2, modes=("fwd", "rev"))
