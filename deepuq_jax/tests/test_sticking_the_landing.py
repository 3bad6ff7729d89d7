"""The path gradient has the mean of the ELBO's gradient, and no variance where q is the posterior."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax.model.posteriors import with_kl_rule
from deepuq_jax.posterior import AtDraw
from deepuq_jax.tests import tolerances

NOISE = dq.Gaussian(0.5)
# The columns are orthogonal, so the posterior of the weights is a product, and q can equal it.
X = jnp.array([[1.0, 1.0, 1.0], [1.0, -1.0, 1.0], [1.0, 1.0, -1.0], [1.0, -1.0, -1.0]])
Y = jnp.array([[1.0], [-2.0], [0.5], [3.0]])


def at_the_posterior():
    """Build a linear model whose q is the exact posterior for weights N(0, 2^2) and noise 0.5."""
    precision = 1 / 2.0**2 + 4 / 0.5**2
    mean = (X.T @ Y) / 0.5**2 / precision
    return dq.bayesianize(
        (lambda w, x: x @ w, mean), sigma=precision**-0.5, prior=dq.GaussianPrior(sigma=2.0), likelihood=NOISE
    )


def gradients(model, key, n, **options):
    """Return the gradients of all parameters at n draws, [n, parameters]."""
    params, rest = dq.partition(model)

    def loss(params, key):
        return dq.negative_elbo(dq.combine(params, rest), X, Y, key=key, num_data=4, **options)[0]

    def flat(key):
        return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(jax.grad(loss)(params, key))])

    return np.asarray(jax.jit(jax.vmap(flat))(jax.random.split(key, n)), np.float64)


def test_the_gradient_has_no_variance_at_the_posterior(key):
    stuck = gradients(at_the_posterior(), key, 100, sticking_the_landing=True)
    plain = gradients(at_the_posterior(), key, 100)
    # The terms of the path gradient, as large as the spread of the plain one, about 1, cancel up to rounding.
    assert plain.std(axis=0).min() > 0.05
    np.testing.assert_allclose(stuck, 0.0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("prior", [dq.GaussianPrior(sigma=1.0), dq.ScaleMixturePrior(), dq.EmpiricalGaussianPrior()])
def test_the_mean_of_the_gradient_is_that_of_the_elbo(prior, key):
    model = dq.BayesianLinear(3, 1, prior=prior, sigma_init=0.3, rngs=nnx.Rngs(0))
    n, options = 20_000, {"log_likelihood": NOISE}
    stuck = gradients(model, key, n, sticking_the_landing=True, **options)
    plain = gradients(model, jax.random.key(1), n, **options)
    error = np.sqrt((stuck.var(axis=0) + plain.var(axis=0)) / n)
    np.testing.assert_array_less(np.abs(stuck.mean(axis=0) - plain.mean(axis=0)), tolerances.STANDARD_ERRORS * error)


def test_the_kl_is_estimated_at_the_draw_of_the_likelihood(key):
    model = dq.BayesByBackpropMLP(3, (4,), 1, prior=dq.LaplacePrior(), likelihood=NOISE, rngs=nnx.Rngs(0))

    @jax.jit
    def values(model):
        losses = [dq.negative_elbo(model, X, Y, key=key, num_data=4, sticking_the_landing=on) for on in (True, False)]
        return losses, with_kl_rule(model, AtDraw()).kl(jax.random.fold_in(key, 0))

    ((loss, terms), (_, plain)), at_draw = values(model)
    np.testing.assert_allclose(terms.nll, plain.nll, rtol=1e-6)
    np.testing.assert_allclose(loss, terms.nll + terms.kl / 4, rtol=1e-6)
    np.testing.assert_allclose(terms.kl, at_draw, rtol=1e-5)


def test_fit_takes_it_and_gives_back_a_plain_model(key):
    model = at_the_posterior()
    result = dq.fit(model, X, Y, key=key, epochs=20, batch_size=4, objective=dq.ELBO(sticking_the_landing=True))
    assert jax.tree.structure(result.model) == jax.tree.structure(model)
    # The history has the KL of each draw, and the KL of the model is in closed form again.
    assert np.unique(result.history["kl"]).size == 20
    np.testing.assert_allclose(result.model.kl(), model.kl(), rtol=0.1)


def test_a_model_with_a_kl_of_its_own_is_refused(key):
    class Own(nnx.Module):
        def __init__(self):
            self.q = nnx.Param(dq.MeanField.init(jnp.ones((3, 1))))

        def __call__(self, x, *, key=None):
            return x @ self.q.get_value().sample(key=key)

        def kl(self, key=None):
            q = self.q.get_value()
            return dq.MeanField(q.mu, q.rho).kl(dq.GaussianPrior())

    options = dict(key=key, num_data=4, log_likelihood=NOISE, sticking_the_landing=True)
    with pytest.raises(ValueError, match="Expected model to take its kl"):
        dq.negative_elbo(Own(), X, Y, **options)
    fixed = dq.draw(dq.BayesianLinear(3, 1, rngs=nnx.Rngs(0)), key=key)
    with pytest.raises(ValueError, match="Expected model to hold a mean-field posterior"):
        dq.negative_elbo(fixed, X, Y, **options)


def test_layers_with_local_reparameterization_are_refused(key):
    model = dq.HomoscedasticBayesByBackpropRegressor(2, (3,), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="Expected model to have estimator=weight_sampling in its layers"):
        dq.ELBO(4, sticking_the_landing=True)(model, np.zeros((4, 2)), np.zeros((4, 1)), key=key)
