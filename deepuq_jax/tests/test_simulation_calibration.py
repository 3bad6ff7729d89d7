"""Simulation-based calibration: ranks are uniform for an exact fit, and faults are caught."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy import stats

import deepuq_jax as dq
from deepuq_jax import diagnostics

NOISE, N, D = 0.8, 12, 3
# The probability of a false alarm in any parameter. Each of them gets an equal part (Bonferroni).
ALARM = 1e-3


def design():
    """Return orthogonal columns of different lengths, so that the exact posterior factorises."""
    columns = np.linalg.qr(np.random.default_rng(0).normal(size=(N, D)))[0]
    return jnp.asarray(columns * np.array([0.5, 1.5, 4.0]), jnp.float32)


def simulate(key):
    weights_key, noise_key = jax.random.split(key)
    w = jax.random.normal(weights_key, (D,))
    y = design() @ w + NOISE * jax.random.normal(noise_key, (N,))
    return dict.fromkeys(("as trained", "narrow", "wide", "shifted"), w), y[:, None]


def infer(y, *, key, n_draws):
    """Draw from the posterior of a layer trained by `train_step`, and from three faulty versions of it."""
    steps, optimizer = 800, optax.adam(optax.cosine_decay_schedule(0.05, 800))
    prior, zeros = dq.GaussianPrior(0.0, 1.0), nnx.initializers.zeros_init()
    options = dict(use_bias=False, prior=prior, kernel_init=zeros, sigma_init=0.3, rngs=nnx.Rngs(0))
    objective = dq.ELBO(N, log_likelihood=dq.Gaussian(NOISE), mc_samples=4)
    train_key, draw_key = jax.random.split(key)

    def step(state, i):
        step_key = jax.random.fold_in(train_key, i)
        return dq.train_step(state, design(), y, key=step_key, objective=objective, optimizer=optimizer)[0], None

    state, _ = jax.lax.scan(
        step, dq.TrainState.create(dq.BayesianLinear(D, 1, **options), optimizer), jnp.arange(steps)
    )
    q = state.model.kernel_posterior.get_value()
    noise = q.draw_noise(key=draw_key, shape=(n_draws,))[..., 0]
    mu, sigma = q.mu[None, :, 0], q.sigma[None, :, 0]

    def scaled(scale, shift=0.0):
        return mu + shift * sigma + scale * sigma * noise

    return {"as trained": scaled(1.0), "narrow": scaled(0.7), "wide": scaled(1.4), "shifted": scaled(1.0, 0.4)}


@pytest.fixture(scope="module")
def result():
    return dq.diagnostics.simulation_based_calibration(simulate, infer, key=jax.random.key(0), n_simulations=400)


@pytest.mark.slow
def test_ranks_are_uniform_where_mean_field_is_exact(result):
    assert result.ranks["as trained"].shape == (400, D)
    assert (np.asarray(result.p_value()["as trained"]) > ALARM / D).all()


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["narrow", "wide", "shifted"])
def test_a_wrong_scale_or_mean_is_caught_in_every_weight(result, fault):
    assert (np.asarray(result.p_value()[fault]) < 1e-4).all()


@pytest.mark.slow
def test_the_shape_of_the_histogram_tells_what_is_wrong(result):
    counts = {name: np.asarray(part).sum(axis=1) for name, part in result.histogram().items()}
    assert all(part.sum() == 400 * D for part in counts.values())
    ends, middle = lambda c: c[0] + c[-1], lambda c: c[4] + c[5]
    assert ends(counts["narrow"]) > 1.5 * middle(counts["narrow"])
    assert middle(counts["wide"]) > 1.5 * ends(counts["wide"])
    assert counts["shifted"][0] > 1.5 * counts["shifted"][-1]  # The draws are too high, so few lie below the truth.


def test_p_value_is_scipys_chi_square():
    ranks = np.random.default_rng(0).integers(0, 100, size=(300, 2))
    got = diagnostics.CalibrationRanks(jnp.asarray(ranks), 99)
    want = [stats.chisquare(np.histogram(column, 10, (0, 100))[0]).pvalue for column in ranks.T]
    np.testing.assert_allclose(got.p_value(), want, rtol=1e-4)


def test_ranks_do_not_depend_on_the_batches():
    def gaussian(key):
        return (jax.random.normal(key), jnp.zeros(()))

    def draws(data, *, key, n_draws):
        return jax.random.normal(key, (n_draws,))

    options = dict(key=jax.random.key(0), n_simulations=25, n_draws=9)
    one, other = (
        diagnostics.simulation_based_calibration(gaussian, draws, batch_size=size, **options) for size in (25, 4)
    )
    np.testing.assert_array_equal(one.ranks, other.ranks)
    assert one.ranks.min() >= 0
    assert one.ranks.max() <= 9


def test_bad_arguments_are_refused():
    def gaussian(key):
        return (jax.random.normal(key, (2,)), jnp.zeros(()))

    def wrong(data, *, key, n_draws):
        return jax.random.normal(key, (n_draws,))

    with pytest.raises(ValueError, match="Expected draws of infer"):
        diagnostics.simulation_based_calibration(gaussian, wrong, key=jax.random.key(0))
    with pytest.raises(ValueError, match="Expected n_draws"):
        diagnostics.simulation_based_calibration(gaussian, wrong, key=jax.random.key(0), n_draws=0)
    with pytest.raises(ValueError, match="Expected bins"):
        diagnostics.CalibrationRanks(jnp.zeros(10, int), 99).histogram(7)
