"""Schedules of the KL weight: their shapes, their sum over an epoch, and the effect of a temperature."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax import schedules


def values(schedule, steps):
    return np.asarray(jax.jit(jax.vmap(schedule))(jnp.arange(steps)))


def test_cyclical_repeats_and_stays_at_the_end():
    weights = values(schedules.cyclical(40, cycles=4, ramp=0.5, temperature=2.0), 60)
    one = np.concatenate([np.arange(5) / 5, np.ones(5)])
    np.testing.assert_allclose(weights, 2 * np.concatenate([np.tile(one, 4), np.ones(20)]), rtol=1e-6)
    uneven = values(schedules.cyclical(10, cycles=3, ramp=1.0), 10)
    np.testing.assert_allclose(uneven, (np.arange(10) * 3 / 10) % 1, atol=1e-6)


def test_steps_may_be_a_whole_float():
    assert schedules.linear(5.0) == schedules.linear(5)
    assert schedules.cyclical(8.0, cycles=2) == schedules.cyclical(8, cycles=2)
    with pytest.raises(ValueError, match="steps to be a positive int"):
        schedules.linear(5.5)


def test_linear():
    np.testing.assert_allclose(values(schedules.linear(4, temperature=0.5), 7), [0, 0.125, 0.25, 0.375, 0.5, 0.5, 0.5])


@pytest.mark.parametrize(("num_data", "batch_size"), [(12, 4), (10, 4), (3, 3), (50_000, 8)])
def test_the_weights_of_an_epoch_are_one_kl(num_data, batch_size):
    batches = -(-num_data // batch_size)
    weights = values(schedules.per_minibatch(num_data, batch_size), 2 * batches).reshape(2, batches)
    np.testing.assert_array_equal(*weights)
    sizes = np.diff([*range(0, num_data, batch_size), num_data])
    # Batch j adds weight_j KL / num_data * size_j to the loss of the epoch, and the sum is KL.
    shares = weights[0].astype(float) * sizes / num_data
    np.testing.assert_allclose(shares.sum(), 1.0, rtol=1e-5)
    # Each share is half of the previous one. On a CPU, XLA flushes powers of 2 below 2^-126 to 0.
    np.testing.assert_allclose(shares[1:100], shares[:-1][:99] / 2, rtol=1e-5)


@pytest.mark.slow
def test_fit_follows_a_schedule(key):
    x = jnp.linspace(-1, 1, 10)[:, None]
    model = dq.BayesianLinear(1, 1, rngs=nnx.Rngs(0))
    objective = dq.ELBO(kl_weight=schedules.per_minibatch(10, 4), log_likelihood=dq.Gaussian(1.0))
    options = dict(key=key, epochs=1, batch_size=4, objective=objective, optimizer=optax.sgd(0.0))
    history = dq.fit(model, x, x, **options).history
    # At a learning rate of 0 the KL is constant, so the loss of an epoch is that of the exact ELBO.
    np.testing.assert_allclose(history["loss"], history["nll"] + history["kl"] / 10, rtol=1e-5)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (schedules.linear(10), schedules.linear(77, temperature=0.3)),
        (schedules.cyclical(12, cycles=2), schedules.cyclical(77, cycles=5, ramp=0.25, temperature=0.3)),
        (schedules.per_minibatch(10, 4), schedules.per_minibatch(77, 8, temperature=0.3)),
    ],
)
def test_schedules_that_differ_in_numbers_share_a_program_and_agree_with_eager_mode(one, other):
    traces = []

    @jax.jit
    def weights(schedule):
        traces.append(1)
        return jax.vmap(schedule)(jnp.arange(100))

    for schedule in (one, other):
        np.testing.assert_allclose(weights(schedule), [schedule(step) for step in range(100)], rtol=1e-6, atol=1e-7)
    assert len(traces) == 1


@pytest.mark.slow
def test_a_temperature_targets_the_cold_posterior():
    """For one weight and y ~ N(w x, s^2), the best q at kl_weight = T has precision 1/sigma_p^2 + sum x^2 / (T s^2)."""
    x = jnp.linspace(-1, 1, 8)[:, None]
    temperature, noise, scale = 0.25, 0.5, 2.0
    y = 1.5 * x
    precision = 1 / scale**2 + float((x**2).sum()) / (temperature * noise**2)
    mean = float((x * y).sum()) / (temperature * noise**2) / precision
    rho = dq.functional.rho_from_sigma(jnp.full((1, 1), precision**-0.5))

    # The expected squared error has a closed form, so no draws are needed and the minimum is exact.
    def expected_nll(q):
        return jnp.mean((y - x * q.mu) ** 2 + (x * q.sigma) ** 2) / (2 * noise**2)

    weight = schedules.linear(1, temperature=temperature)(5)

    def loss(q):
        return expected_nll(q) + weight * q.kl(dq.GaussianPrior(sigma=scale)) / 8

    grads = jax.grad(loss)(dq.GaussianPosterior(jnp.full((1, 1), mean), rho))
    np.testing.assert_allclose([grads.mu, grads.rho], 0.0, atol=1e-5)
    # Wenzel et al. also sharpen the prior, which multiplies its scale by sqrt(T).
    precision = (1 / scale**2 + float((x**2).sum()) / noise**2) / temperature
    mean = float((x * y).sum()) / (temperature * noise**2) / precision

    def loss(q):
        return expected_nll(q) + weight * q.kl(dq.GaussianPrior(sigma=scale * temperature**0.5)) / 8

    rho = dq.functional.rho_from_sigma(jnp.full((1, 1), precision**-0.5))
    grads = jax.grad(loss)(dq.GaussianPosterior(jnp.full((1, 1), mean), rho))
    np.testing.assert_allclose([grads.mu, grads.rho], 0.0, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: schedules.linear(0), "steps"),
        (lambda: schedules.linear(10, temperature=0.0), "temperature"),
        (lambda: schedules.cyclical(3, cycles=4), "steps"),
        (lambda: schedules.cyclical(10, cycles=2.5), "cycles"),
        (lambda: schedules.cyclical(10, ramp=1.5), "ramp"),
        (lambda: schedules.per_minibatch(10, 11), "batch_size"),
        (lambda: schedules.per_minibatch(True, 1), "num_data"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=f"Expected {message}"):
        call()
