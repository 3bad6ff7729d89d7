"""Noise that is pooled over the batch at the start of a training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax.likelihoods.rescaled import Rescaled

OUTPUTS = np.array([[1.0, 0.5], [2.0, -1.5], [3.0, 4.0]], np.float32)
Y = np.array([[1.5], [1.0], [2.0]], np.float32)


def log_densities(mean, raw_var, y):
    """The log densities, as NumPy computes them."""
    var = np.log1p(np.exp(raw_var)) + 1e-6
    return -0.5 * (np.log(2 * np.pi * var) + (y - mean) ** 2 / var)


def own_elbo(share, *, weights=None):
    """The expected loss at `OUTPUTS` and `Y`, without the KL."""
    mean, raw_var = np.split(OUTPUTS.astype(np.float64), 2, axis=1)
    pooled = share * raw_var + (1 - share) * np.average(raw_var, weights=weights, axis=0)
    densities = log_densities(mean, pooled, Y)
    return -np.mean(densities if weights is None else densities * weights[:, None])


class Outputs(nnx.Module):
    """A model with constant outputs, whose posterior has no part in them."""

    def __init__(self, likelihood):
        self.layer = dq.BayesianLinear(1, 1, rngs=nnx.Rngs(0))
        self.likelihood = nnx.static(likelihood)

    def __call__(self, x, *, key=None, noise=None):
        return jnp.asarray(OUTPUTS)

    def kl(self, key=None):
        return self.layer.kl(key)

    def draw_noise(self, x, *, key):
        return self.layer.draw_noise(x, key=key)


def nll(likelihood, share, y=Y, step=None):
    objective = dq.ELBO(3, heteroscedasticity=share)
    return objective(Outputs(likelihood), np.zeros((3, 1), np.float32), y, key=jax.random.key(0), step=step)[1].nll


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_loss_pools_the_raw_variances(share):
    np.testing.assert_allclose(nll(dq.HeteroscedasticGaussian(), share), own_elbo(share), rtol=1e-5)


def test_a_schedule_gives_the_share_at_each_step():
    rise = dq.schedules.linear(8)
    np.testing.assert_allclose(nll(dq.HeteroscedasticGaussian(), rise, step=2), own_elbo(0.25), rtol=1e-5)
    with pytest.raises(ValueError, match="Expected step with a heteroscedasticity that is a schedule"):
        nll(dq.HeteroscedasticGaussian(), rise)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 0.0), (0.5, 2.0, 1.0)])
def test_weights_count_in_the_pool(weights):
    weights = np.array(weights, np.float32)
    likelihood = dq.Weighted(dq.HeteroscedasticGaussian())
    np.testing.assert_allclose(nll(likelihood, 0.25, (Y, weights)), own_elbo(0.25, weights=weights), rtol=1e-5)


def test_examples_that_are_masked_are_not_in_the_pool():
    mask = np.array([True, False, True])
    found = nll(dq.Masked(dq.HeteroscedasticGaussian()), 0.0, (Y, mask))
    np.testing.assert_allclose(found, own_elbo(0.0, weights=mask.astype(np.float64)), rtol=1e-5)
    assert np.isfinite(nll(dq.Masked(dq.HeteroscedasticGaussian()), 0.0, (Y, np.zeros(3, bool))))


def test_other_units_change_the_loss_by_a_constant():
    scaled = nll(Rescaled(dq.HeteroscedasticGaussian(), (1.0,), (2.0,)), 0.25, 2.0 * Y + 1.0)
    np.testing.assert_allclose(scaled, own_elbo(0.25) + np.log(2.0), rtol=1e-5)


def test_invalid_shares_are_refused():
    with pytest.raises(ValueError, match="Expected heteroscedasticity to be from 0 to 1; got 1\\.5"):
        dq.ELBO(heteroscedasticity=np.float32(1.5))
    with pytest.raises(
        ValueError, match="Expected heteroscedasticity to be None with Gaussian, which reads no Gaussian"
    ):
        nll(dq.Gaussian(0.1), 0.5, np.zeros((3, 2), np.float32))


def test_each_target_has_a_pool_of_its_own():
    outputs = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    weights = np.array([[1, 0], [2, 1], [0, 3], [1, 1], [0.5, 0]], np.float32)
    found = dq.Weighted(dq.HeteroscedasticGaussian()).pooled(outputs, (np.zeros((5, 2), np.float32), weights), 0.0)
    np.testing.assert_array_equal(found[:, :2], outputs[:, :2])
    for d in range(2):
        mean = np.average(outputs[:, 2 + d], weights=weights[:, d])
        np.testing.assert_allclose(found[:, 2 + d], np.full(5, mean), rtol=1e-5)
    sequences = np.random.default_rng(1).normal(size=(3, 2, 4)).astype(np.float32)
    found = dq.HeteroscedasticGaussian().pooled(sequences, np.zeros((3, 2, 2), np.float32), 0.0)
    expected = sequences[..., 2:].mean((0, 1), keepdims=True)
    np.testing.assert_allclose(found[..., 2:], np.broadcast_to(expected, (3, 2, 2)), rtol=1e-5)


def test_an_infinite_raw_variance_of_weight_zero_stays_out_of_the_pool():
    outputs = np.array([[0.0, 1.0], [0.0, np.inf]], np.float32)
    pair = (np.zeros((2, 1), np.float32), np.array([True, False]))
    assert dq.Masked(dq.HeteroscedasticGaussian()).pooled(outputs, pair, 0.5)[0, 1] == 1.0


def test_another_share_does_not_recompile():
    count = 0

    @jax.jit
    def loss(objective):
        nonlocal count
        count += 1
        model, x = Outputs(dq.HeteroscedasticGaussian()), np.zeros((3, 1), np.float32)
        return objective(model, x, Y, key=jax.random.key(0))[0]

    first, second = (loss(dq.ELBO(3, heteroscedasticity=share)) for share in (0.2, 0.8))
    assert count == 1
    assert first != second


def test_the_defaults_of_a_scaled_regressor_are_those_of_the_regressor(key):
    x, y = np.linspace(-1, 1, 40, dtype=np.float32)[:, None], np.linspace(3, 9, 40, dtype=np.float32)[:, None]
    regressor = dq.HeteroscedasticBayesByBackpropRegressor(1, (4,), rngs=nnx.Rngs(0))
    natural = dq.natural_gradient(initial_precision=0.3, mean_limit=0.1, rest=optax.adam(5e-3))
    objective = dq.ELBO(kl_weight=dq.schedules.linear(1), heteroscedasticity=dq.schedules.linear(2))
    options = dict(key=key, epochs=4)
    default = dq.fit(dq.Standardized(regressor, x, y), x, y, **options)
    named = dq.fit(dq.Standardized(regressor, x, y), x, y, optimizer=natural, objective=objective, **options)
    for a, b in zip(jax.tree.leaves(default.model), jax.tree.leaves(named.model), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
