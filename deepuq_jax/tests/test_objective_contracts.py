"""The contracts of objectives, for all names in `objectives.__all__` and for callables that a user writes."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax import objectives
from deepuq_jax.tests import tolerances
from deepuq_jax.tests.profiles import small_profile
from deepuq_jax.training import _data

OPTIMIZER = optax.sgd(1e-2, momentum=0.9)
NOISE = dq.Gaussian(0.5)


def data(n=12):
    x = np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)
    return x, x[:, :1] - 0.5 * x[:, 1:2]


def linear(likelihood=NOISE):
    """Build the smallest network with a KL, since a training program costs compile time per tensor."""
    return dq.Sequential(dq.BayesianLinear(3, 1, use_bias=False, rngs=nnx.Rngs(0)), likelihood=likelihood)


def own_function(model, x, y, *, key, step=0):
    """The ELBO of twelve examples, written by a user."""
    nll, kl = -jnp.mean(NOISE(model(x, key=key), y)), model.kl()
    return nll + kl / 12, dq.ELBOTerms(nll=nll, kl=kl)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class OwnPytree:
    """The same objective with its number as a leaf."""

    num_data: Any

    def __call__(self, model, x, y, *, key, step=0):
        nll, kl = -jnp.mean(NOISE(model(x, key=key), y)), model.kl()
        return nll + kl / self.num_data, dq.ELBOTerms(nll=nll, kl=kl)


# One of each objective. An objective without a row fails `test_every_objective_has_a_row`.
OBJECTIVES = {
    "ELBO": lambda: dq.ELBO(12),
    "DocumentedELBO": lambda: dq.DocumentedELBO(3, 1 / 4),
    "a function": lambda: own_function,
    "a pytree": lambda: OwnPytree(12),
}
objective_contract = pytest.mark.parametrize("objective", [make() for make in OBJECTIVES.values()], ids=OBJECTIVES)
# In `make test`, tests that compile several trainings run for one objective of the library and one of a user.
training_contract = pytest.mark.parametrize("name", small_profile(OBJECTIVES, ["ELBO", "a function"]))


def test_every_objective_has_a_row():
    assert set(objectives.__all__) <= set(OBJECTIVES)


def by_hand(objective, key, batch_size=4):
    """Train for an epoch in the order of `train_epoch`, by optax alone."""
    x, y = data()
    order_key, step_key = jax.random.split(key)
    order = np.asarray(jax.random.permutation(order_key, len(x))).reshape(-1, batch_size)

    @jax.jit
    def take_step(model, opt_state, x, y, key, step):
        grads = jax.grad(lambda m: objective(m, x, y, key=key, step=step)[0])(model)
        updates, opt_state = OPTIMIZER.update(grads, opt_state)
        return optax.apply_updates(model, updates), opt_state

    model, opt_state = linear(), OPTIMIZER.init(linear())
    keys = jax.random.split(step_key, len(order) + 1)
    for step, (rows, key) in enumerate(zip(order, keys, strict=False)):
        model, opt_state = take_step(model, opt_state, x[rows], y[rows], key, step)
    return model


def assert_close(a, b):
    for left, right in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-6)


@objective_contract
def test_the_loss_of_a_step_is_the_objectives_to_the_last_bit(objective, key):
    x, y = data()

    @jax.jit
    def both(model):
        state = dq.TrainState.create(model, OPTIMIZER)
        _, of_step = dq.train_step(state, x, y, key=key, objective=objective, optimizer=OPTIMIZER)
        return of_step, objective(model, x, y, key=key)

    of_step, (loss, terms) = both(linear())
    np.testing.assert_array_equal(of_step.loss, loss)
    np.testing.assert_array_equal((of_step.nll, of_step.kl), (terms.nll, terms.kl))


@cache
def epoch_of(objective):
    """Return a function of a key that trains a new network for an epoch, compiled once per objective."""

    def epoch(key):
        state = dq.TrainState.create(linear(), OPTIMIZER)
        return dq.train_epoch(state, *data(), key=key, objective=objective, optimizer=OPTIMIZER, batch_size=4)

    return jax.jit(epoch)


@pytest.mark.slow
@objective_contract
def test_an_epoch_equals_a_loop_of_optax_on_the_objective(objective, key):
    state, history = epoch_of(objective)(key)
    assert_close(state.model, by_hand(objective, key))
    assert history.loss.shape == (3,)


@pytest.mark.slow
@training_contract
def test_it_trains_through_fit_by_arrays_and_by_batches_in_every_way(name, key, monkeypatch):
    x, y = data()
    options = dict(key=key, objective=OBJECTIVES[name](), optimizer=OPTIMIZER, epochs=3)
    looped = dq.fit(linear(), x, y, batch_size=4, **options)
    assert set(looped.history) >= {"loss", "nll", "kl"}
    monkeypatch.setattr(_data, "is_slow_in_a_loop", lambda *_: True)
    stepped = dq.fit(linear(), x, y, batch_size=4, **options)
    assert_close(looped.model, stepped.model)
    assert_close(looped.history, stepped.history)
    batched = dq.fit(linear(), [(x[:8], y[:8]), (x[8:], y[8:])], **options)
    assert int(batched.state.step) == 6
    scored = dq.fit(linear(), x, y, batch_size=4, validation_data=(x, y), **options)
    assert_close(scored.model, looped.model)
    assert scored.history["val_nll"].shape == (3,)


@pytest.mark.slow
@training_contract
def test_it_trains_many_seeds_in_one_program(name, key):
    one_seed, keys = epoch_of(OBJECTIVES[name]()), jax.random.split(key, 2)
    many, _ = jax.jit(jax.vmap(one_seed))(keys)
    for i in range(2):
        assert_close(jax.tree.map(lambda leaf, i=i: leaf[i], many.params), one_seed(keys[i])[0].params)


def counted(step):
    """Return the step under jit, with the objective as an argument, and the list of its traces."""
    traces = []

    @jax.jit
    def jitted(state, objective, key):
        traces.append(1)
        return step(state, objective, key)

    return jitted, traces


@pytest.mark.slow
def test_numbers_and_warm_ups_do_not_retrace_and_the_number_of_draws_does(key):
    x, y = data()
    loss, traces = counted(lambda s, o, k: dq.train_step(s, x, y, key=k, objective=o, optimizer=OPTIMIZER)[1].loss)
    expected = jax.jit(lambda objective, key: objective(linear(), x, y, key=key, step=0)[0])
    state = dq.TrainState.create(linear(), OPTIMIZER)
    for first, second in (
        (dq.ELBO(12), dq.ELBO(77, 0.5)),
        (dq.ELBO(12, dq.schedules.linear(7)), dq.ELBO(77, dq.schedules.linear(9, temperature=0.5))),
        (dq.DocumentedELBO(3, 1), dq.DocumentedELBO(7, 0.5)),
        (OwnPytree(12), OwnPytree(77)),
    ):
        traces.clear()
        for objective in (first, second):
            np.testing.assert_allclose(loss(state, objective, key), expected(objective, key), rtol=1e-6)
        assert len(traces) == 1
    traces.clear()
    for mc_samples in (1, 2, 2, 1):
        loss(state, dq.ELBO(12, mc_samples=mc_samples), key)
    assert len(traces) == 1  # A single draw was traced above.


def test_another_warm_up_or_weight_does_not_recompile_fit(key):
    x, y = data()
    traces = []

    def log_likelihood(outputs, y):
        if isinstance(outputs, jax.core.Tracer):
            traces.append(outputs.shape)
        return NOISE(outputs, y)

    options = dict(key=key, optimizer=OPTIMIZER, epochs=2, batch_size=4)
    for first, second in ((1.0, 0.5), (dq.schedules.linear(5), dq.schedules.linear(6))):
        dq.fit(linear(), x, y, objective=dq.ELBO(kl_weight=first, log_likelihood=log_likelihood), **options)
        traces.clear()
        dq.fit(linear(), x, y, objective=dq.ELBO(kl_weight=second, log_likelihood=log_likelihood), **options)
        assert traces == [(12, 1)]  # The check of the targets, without a compilation.


def test_a_sweep_over_the_weight_and_the_size_is_vmapped(key):
    x, y = data()

    def train(kl_weight, num_data):
        state, objective = dq.TrainState.create(linear(), OPTIMIZER), dq.ELBO(num_data, kl_weight)
        return dq.train_epoch(state, x, y, key=key, objective=objective, optimizer=OPTIMIZER, batch_size=4)[1].loss

    weights, sizes = jnp.array([0.1, 1.0]), jnp.array([12.0, 50.0])
    swept, alone = jax.jit(jax.vmap(train))(weights, sizes), jax.jit(train)
    for i in range(2):
        np.testing.assert_allclose(swept[i], alone(weights[i], sizes[i]), rtol=1e-5)


def test_the_number_of_examples_is_filled_in_from_arrays_and_refused_elsewhere(key):
    x, y = data()
    state = dq.TrainState.create(linear(), OPTIMIZER)

    @jax.jit
    def losses(objective):
        return dq.train_epoch(state, x, y, key=key, objective=objective, optimizer=OPTIMIZER, batch_size=4)[1].loss

    twelve = losses(dq.ELBO(12))
    np.testing.assert_allclose(losses(dq.ELBO()), twelve, rtol=tolerances.SUMS["float32"])
    assert not np.allclose(losses(dq.ELBO(50)), twelve)
    with pytest.raises(ValueError, match=r"Expected num_data .* as in ELBO\(num_data=N\); got None"):
        dq.ELBO()(linear(), x, y, key=key)
    with pytest.raises(ValueError, match="Expected num_data"):
        dq.train_step(state, x, y, key=key, objective=dq.ELBO(), optimizer=OPTIMIZER)


@pytest.mark.slow
def test_validation_is_scored_by_the_objectives_likelihood_else_by_the_models(key):
    x, y = data()
    options = dict(key=key, optimizer=OPTIMIZER, epochs=1, validation_data=(x, y))
    wide = dq.Gaussian(5.0)
    _, score_key = jax.random.split(key)
    for objective, likelihood in ((dq.ELBO(log_likelihood=wide), wide), (dq.ELBO(), NOISE), (own_function, NOISE)):
        result = dq.fit(linear(), x, y, objective=objective, **options)
        density = dq.log_predictive_density(result.model, x, y, key=score_key, n_samples=10, log_likelihood=likelihood)
        np.testing.assert_allclose(result.history["val_nll"], -density.mean(), rtol=1e-5)
    nameless = linear(likelihood=None)
    with pytest.raises(ValueError, match="Expected likelihood with validation_data"):
        dq.fit(nameless, x, y, objective=own_function, **options)


def test_anything_but_an_objective_is_refused(key):
    x, y = data()
    state = dq.TrainState.create(linear(), OPTIMIZER)

    def step(objective):
        return dq.train_step(state, x, y, key=key, objective=objective, optimizer=OPTIMIZER)

    with pytest.raises(TypeError, match=r"Expected objective to return \(loss, ELBOTerms\); got"):
        step(lambda model, x, y, *, key, step: model.kl())
    with pytest.raises(TypeError, match="Expected objective to be an instance, such as ELBO"):
        step(dq.ELBO)
    with pytest.raises(TypeError, match="Expected objective to be a callable"):
        step(1.0)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: dq.ELBO(0), ValueError, "Expected num_data"),
        (lambda: dq.ELBO("10"), TypeError, "Expected num_data"),
        (lambda: dq.ELBO(jnp.ones(2)), ValueError, "Expected num_data"),
        (lambda: dq.ELBO(10, float("inf")), ValueError, "Expected kl_weight to be finite"),
        (lambda: dq.ELBO(10, "1"), TypeError, "Expected kl_weight"),
        (lambda: dq.ELBO(10, log_likelihood="gaussian"), TypeError, "Expected log_likelihood"),
        (lambda: dq.ELBO(10, mc_samples=True), ValueError, "Expected mc_samples"),
        (lambda: dq.ELBO(10, sample=2), TypeError, "sample"),
        (lambda: dq.DocumentedELBO(0), ValueError, "Expected num_batches"),
        (lambda: dq.DocumentedELBO(2.0), ValueError, "Expected num_batches"),
        (lambda: dq.DocumentedELBO(2, criterion=1.0), TypeError, "Expected criterion"),
        (lambda: dq.DocumentedELBO(2, float("nan")), ValueError, "Expected kl_weight"),
    ],
)
def test_invalid_fields_are_refused_at_construction(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_functions_without_a_step_refuse_a_schedule(key):
    x, y = data()
    with pytest.raises(TypeError, match="Expected kl_weight to be a number"):
        dq.negative_elbo(linear(), x, y, key=key, num_data=12, kl_weight=dq.schedules.linear(5))
    with pytest.raises(TypeError, match="Expected kl_weight to be a number"):
        dq.vi_elbo_step(linear(), x, y, 3, key=key, kl_weight=dq.schedules.linear(5))


def test_opposite_draws_of_an_objective_need_a_model_without_dropout(key):
    layer = dq.BayesianLinear(2, 1, rngs=nnx.Rngs(0))
    dropout = dq.Sequential(layer, nnx.Dropout(0.5, rngs=nnx.Rngs(1)))
    x, y = jnp.ones((4, 2)), jnp.ones((4, 1))

    def loss(model, antithetic):
        objective = dq.ELBO(4, log_likelihood=dq.Gaussian(1.0), mc_samples=2, antithetic=antithetic)
        return objective(model, x, y, key=key)[0]

    assert np.isfinite([loss(layer, False), loss(layer, True), loss(dropout, False)]).all()
    with pytest.raises(ValueError, match="Expected model to have no dropout, for antithetic draws"):
        loss(dropout, True)
