"""The pure functions of training: a step and an epoch, under every transformation."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import deepuq_jax as dq

GAUSSIAN = dq.Gaussian(0.5)
ADAM = optax.adam(1e-2)
OBJECTIVE = dq.ELBO(num_data=10)


def data(n=10):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(x[:, :1] - 0.5 * x[:, 1:2])


def linear(seed=0):
    """Build a small model, since a training program costs compile time per tensor."""
    return dq.Sequential(dq.BayesianLinear(3, 1, rngs=nnx.Rngs(seed)), likelihood=GAUSSIAN)


def leaves_close(a, b, rtol=1e-5):
    for left, right in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(left, right, rtol=rtol, atol=1e-6)


@jax.jit
def take_step(state, x, y, key, objective):
    return dq.train_step(state, x, y, key=key, objective=objective, optimizer=ADAM)


def test_a_step_is_the_optimizers_step_on_the_objective(key):
    x, y = data()

    def loss(model):
        return dq.negative_elbo(model, x, y, key=key, num_data=10)[0]

    @jax.jit
    def both(model):
        state = dq.TrainState.create(model, ADAM)
        step = dq.train_step(state, x, y, key=key, objective=OBJECTIVE, optimizer=ADAM)
        value, grads = jax.value_and_grad(loss)(model)
        updates, _ = ADAM.update(grads, ADAM.init(model))
        return step, value, optax.apply_updates(model, updates)

    (new, terms), value, expected = both(linear())
    leaves_close(new.model, expected)
    np.testing.assert_array_equal(terms.loss, value)
    assert (int(new.step), int(new.bad_step)) == (1, -1)


@pytest.mark.slow
def test_an_epoch_sees_every_example_once_and_steps_on_the_remainder(key):
    seen = []

    def log_likelihood(outputs, y):
        jax.debug.callback(lambda y: seen.append(np.asarray(y)), y)
        return GAUSSIAN(outputs, y)

    x, y = data()
    state = dq.TrainState.create(linear(), ADAM)
    state, history = jax.jit(
        lambda s, k: dq.train_epoch(
            s, x, y, key=k, objective=dq.ELBO(log_likelihood=log_likelihood), optimizer=ADAM, batch_size=4
        )
    )(state, key)
    jax.effects_barrier()
    assert sorted(len(batch) for batch in seen) == [2, 4, 4]
    np.testing.assert_array_equal(np.sort(np.concatenate(seen).ravel()), np.sort(np.asarray(y).ravel()))
    assert history.loss.shape == (3,)
    assert int(state.step) == 3


def test_epochs_shuffle_anew(key):
    x, y = data(64)
    still = optax.sgd(0.0)
    state = dq.TrainState.create(linear(), still)
    epoch = jax.jit(lambda k: dq.train_epoch(state, x, y, key=k, optimizer=still, batch_size=16)[1].nll)
    assert not np.isclose(epoch(key), epoch(jax.random.key(1))).any()


@pytest.mark.slow
def test_a_step_scans_and_vmaps_over_seeds(key):
    x, y = data()
    keys = jax.random.split(key, 3)

    def step(state, k):
        return take_step(state, x, y, k, OBJECTIVE)

    scanned, _ = jax.jit(lambda s: jax.lax.scan(step, s, keys))(dq.TrainState.create(linear(), ADAM))
    looped = dq.TrainState.create(linear(), ADAM)
    for k in keys:
        looped, _ = step(looped, k)
    leaves_close(scanned, looped)

    def train(seed_key):
        model = linear(seed_key)
        return dq.train_epoch(dq.TrainState.create(model, ADAM), x, y, key=seed_key, batch_size=4, optimizer=ADAM)[0]

    many = jax.jit(jax.vmap(train))(keys)
    leaves_close(jax.tree.map(lambda leaf: leaf[1], many), jax.jit(train)(keys[1]), rtol=1e-4)


@pytest.mark.slow
def test_priors_sweep_under_vmap(key):
    x, y = data()

    def train(scale):
        prior = dq.GaussianPrior(0.0, scale)
        layer = dq.BayesianLinear(3, 1, prior=prior, rngs=nnx.Rngs(0))
        model = dq.Sequential(layer, likelihood=GAUSSIAN)
        state, history = dq.train_epoch(dq.TrainState.create(model, ADAM), x, y, key=key, batch_size=5, optimizer=ADAM)
        return history.kl, state.model.layers[0].prior.sigma

    kls, scales = jax.jit(jax.vmap(train))(jnp.array([0.1, 1.0]))
    assert (kls[0] > kls[1]).all()
    np.testing.assert_array_equal(scales, jnp.array([0.1, 1.0]))


def test_training_runs_sharded_over_devices(key):
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()), ("data",))
    x, y = jax.device_put(data(16), jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data")))
    objective = dq.ELBO(num_data=16)
    sharded, _ = take_step(dq.TrainState.create(linear(), ADAM), x, y, key, objective)
    plain, _ = take_step(dq.TrainState.create(linear(), ADAM), *data(16), key, objective)
    leaves_close(sharded, plain)


def test_kl_weight_takes_a_schedule_of_the_step(key):
    x, y = data()
    schedule = optax.linear_schedule(0.0, 1.0, 4)
    state = dataclasses.replace(dq.TrainState.create(linear(), ADAM), step=jnp.asarray(2))
    _, by_schedule = take_step(state, x, y, key, dq.ELBO(10, schedule))
    _, by_number = take_step(state, x, y, key, dq.ELBO(10, 0.5))
    np.testing.assert_allclose(by_schedule.loss, by_number.loss, rtol=1e-6)
    np.testing.assert_allclose(by_number.loss, by_number.nll + 0.5 * by_number.kl / 10, rtol=1e-6)


def test_a_step_that_is_not_finite_is_not_taken_and_the_first_is_recorded(key):
    x, y = data()

    def bad(outputs, y):
        return GAUSSIAN(outputs, y) * jnp.where(y[0, 0] > 1e6, jnp.nan, 1.0)

    objective = dq.ELBO(10, log_likelihood=bad)
    first, _ = take_step(dq.TrainState.create(linear(), ADAM), x, y, key, objective)
    second, _ = take_step(first, x, y + 1e7, key, objective)
    leaves_close(second.model, first.model, rtol=0)
    leaves_close(second.opt_state, first.opt_state, rtol=0)
    assert (int(second.step), int(second.bad_step)) == (2, 1)
    assert int(take_step(second, x, y + 1e7, key, objective)[0].bad_step) == 1


def test_a_learning_rate_or_a_gradient_that_is_not_finite_keeps_the_state(key):
    x, y = data()
    wild = optax.adam(lambda count: jnp.where(count == 0, jnp.nan, 1e-3))

    def kinked(outputs, y):
        # At 0, this square root is finite, and its gradient is not.
        return GAUSSIAN(outputs, y) + jnp.sqrt(0.0 * outputs[:, 0] ** 2)

    for optimizer, log_likelihood in ((wild, GAUSSIAN), (ADAM, kinked)):
        state, objective = dq.TrainState.create(linear(), optimizer), dq.ELBO(10, log_likelihood=log_likelihood)
        after, terms = jax.jit(partial(dq.train_step, optimizer=optimizer))(state, x, y, key=key, objective=objective)
        assert np.isfinite(terms.loss)
        assert int(after.bad_step) == 0
        leaves_close((after.model, after.opt_state), (state.model, state.opt_state), rtol=0)


@pytest.mark.slow
def test_a_step_in_the_form_for_a_gpu_is_the_same_step(key, monkeypatch):
    x, y = data()

    def log_likelihood(outputs, y):
        kink = jnp.where(y[:, 0] > 5e6, outputs[:, 0], 1.0)
        # At 0, this square root is finite, and its gradient is not.
        return GAUSSIAN(outputs, y / 1e9) + jnp.sqrt(jnp.where(kink == 1.0, 1.0, 0.0 * kink**2))

    def steps(optimizer, scales):
        state = dq.TrainState.create(linear(), optimizer)
        step = jax.jit(partial(dq.train_step, optimizer=optimizer))
        for scale in scales:
            state, _ = step(state, x, y + scale, key=key, objective=dq.ELBO(10, log_likelihood=log_likelihood))
        return state

    wild = optax.adam(lambda count: jnp.where(count == 1, jnp.nan, 1e-2))
    # One step of each run is not finite: in the gradient, in the loss, and in the learning rate.
    runs = ((ADAM, (0.0, 0.0, 1e7, 0.0)), (ADAM, (0.0, jnp.nan)), (wild, (0.0, 0.0)))
    expected = [steps(*run) for run in runs]
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *leaves, cpu, default: default(*leaves))
    for run, found in zip(runs, expected, strict=True):
        leaves_close(steps(*run), found)
    assert [int(found.bad_step) for found in expected] == [2, 1, 1]


def test_only_params_get_optimizer_state():
    prior = dq.GaussianPrior(0.0, jnp.asarray(0.5))
    model = dq.BayesianLinear(3, 1, prior=prior, rngs=nnx.Rngs(0))
    state = dq.TrainState.create(model, optax.sgd(0.1, momentum=0.9))
    assert len(jax.tree.leaves(state.opt_state)) == 4


def test_a_batch_larger_than_the_data_is_refused(key):
    x, y = data()
    with pytest.raises(ValueError, match="Expected batch_size to be at most the 10 examples; got 11"):
        dq.train_epoch(dq.TrainState.create(linear(), ADAM), x, y, key=key, batch_size=11, optimizer=ADAM)
    with pytest.raises(ValueError, match="Expected batch_size to be a positive int"):
        dq.train_epoch(dq.TrainState.create(linear(), ADAM), x, y, key=key, batch_size=0, optimizer=ADAM)
