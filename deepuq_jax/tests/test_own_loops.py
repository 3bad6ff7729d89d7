"""A user's own training loop changes only the trained parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import deepuq_jax as dq

# Together, these tests take too long for `make check`.
pytestmark = pytest.mark.slow

X = jax.random.normal(jax.random.key(0), (16, 3))
LABELS = (X[:, 0] > 0).astype(jnp.int32)
KEY = jax.random.key(1)
OBJECTIVE = dq.ELBO(16, log_likelihood=dq.Categorical())


def network():
    return nnx.Sequential(nnx.Linear(3, 4, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(4, 2, rngs=nnx.Rngs(1)))


MODELS = {
    "layer": lambda: dq.BayesianLinear(3, 2, rngs=nnx.Rngs(0)),
    "MLP with an array prior": lambda: dq.BayesByBackpropMLP(
        3, (4,), 2, prior=dq.GaussianPrior(0.0, jnp.array(0.5)), rngs=nnx.Rngs(0)
    ),
    "frozen network": lambda: dq.bayesianize(network(), where="last_layer", rest="frozen"),
    "prior centred on the network": lambda: dq.moped(network()),
}
OPTIMIZERS = {
    "adam": optax.adam(1e-2),
    "momentum": optax.sgd(1e-2, momentum=0.9),
    "adamw": optax.adamw(1e-2, weight_decay=0.1),
}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
PAIRS = [
    ("layer", "momentum"),
    ("MLP with an array prior", "adamw"),
    ("frozen network", "adamw"),
    ("prior centred on the network", "adam"),
]
COSTLY = {"MLP with an array prior", "frozen network"}
some_pairs = pytest.mark.parametrize(
    ("make", "optimizer"),
    [
        pytest.param(MODELS[model], OPTIMIZERS[name], marks=pytest.mark.long if model in COSTLY else ())
        for model, name in PAIRS
    ],
    ids=map(", ".join, PAIRS),
)


def arrays(model, *kinds):
    return jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model, *kinds)))


def assert_same(one, two, **tolerances):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerances), one, two)


def by_train_step(model, optimizer, steps):
    state = dq.TrainState.create(model, optimizer)

    @jax.jit
    def run(state):
        def step(state, i):
            key = jax.random.fold_in(KEY, i)
            return dq.train_step(state, X, LABELS, key=key, objective=OBJECTIVE, optimizer=optimizer)[0], None

        return jax.lax.scan(step, state, jnp.arange(steps))[0]

    return run(state).model


@some_pairs
def test_nnx_optimizer_trains_as_train_step_over_a_hundred_steps(make, optimizer):
    """Optimizers with a state work over many updates."""
    model = make()
    before = arrays(model, nnx.Not(nnx.Param))
    nnx_optimizer = nnx.Optimizer(model, optimizer, wrt=nnx.Param)

    @nnx.jit
    def step(model, nnx_optimizer, key):
        grads = nnx.grad(lambda model: OBJECTIVE(model, X, LABELS, key=key)[0])(model)
        nnx_optimizer.update(model, grads)

    for i in range(100):
        step(model, nnx_optimizer, jax.random.fold_in(KEY, i))
    other = by_train_step(make(), optimizer, 100)
    assert_same(arrays(model, nnx.Param), arrays(other, nnx.Param), rtol=2e-3, atol=2e-4)
    assert_same(arrays(model, nnx.Not(nnx.Param)), before)


@some_pairs
def test_a_loop_over_partition_changes_only_the_params(make, optimizer):
    """Neither gradients nor weight decay move frozen weights, prior centres and array priors."""
    model = make()
    before = arrays(model, nnx.Not(nnx.Param))
    params, rest = dq.partition(model)

    @jax.jit
    def step(params, opt_state, key):
        grads = jax.grad(lambda params: OBJECTIVE(dq.combine(params, rest), X, LABELS, key=key)[0])(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    opt_state = optimizer.init(params)
    for i in range(10):
        params, opt_state = step(params, opt_state, jax.random.fold_in(KEY, i))
    trained = dq.combine(params, rest)
    assert_same(
        arrays(trained, nnx.Param), arrays(by_train_step(make(), optimizer, 10), nnx.Param), rtol=1e-3, atol=1e-5
    )
    assert_same(arrays(trained, nnx.Not(nnx.Param)), before)


@every_model
def test_gradient_descent_on_the_whole_model_leaves_the_rest_as_it_is(make):
    """The README of 0.1 showed this loop, which differentiates the model itself."""
    model = make()
    before = arrays(model, nnx.Not(nnx.Param))

    @jax.jit
    def step(model, key):
        grads = jax.grad(lambda model: OBJECTIVE(model, X, LABELS, key=key)[0])(model)
        return jax.tree.map(lambda leaf, grad: leaf - 0.1 * grad, model, grads)

    for i in range(10):
        model = step(model, jax.random.fold_in(KEY, i))
    assert_same(arrays(model, nnx.Not(nnx.Param)), before)


def test_averages_of_the_parameters_combine_to_a_model():
    """Moving averages, per-name optimizers and Lookahead work on `params`."""
    model = MODELS["frozen network"]()
    params, rest = dq.partition(model)
    average = optax.incremental_update(params, jax.tree.map(jnp.zeros_like, params), 0.1)
    assert_same(arrays(dq.combine(average, rest), nnx.Not(nnx.Param)), arrays(model, nnx.Not(nnx.Param)))
    by_name = {"means": optax.adam(1e-2), "scales": optax.sgd(1e-3)}
    labels = {name: "means" if name.endswith("mu") else "scales" for name in dq.partition(MODELS["layer"]())[0]}
    trained = by_train_step(MODELS["layer"](), optax.multi_transform(by_name, labels), 3)
    assert np.isfinite(trained(X)).all()
    lookahead = optax.lookahead(optax.sgd(1e-2), sync_period=2, slow_step_size=0.5)

    def loss(params, key):
        return OBJECTIVE(dq.combine(params, rest), X, LABELS, key=key)[0]

    pair = optax.LookaheadParams.init_synced(params)
    opt_state = lookahead.init(pair)
    for i in range(4):
        key = jax.random.fold_in(KEY, i)
        grads = jax.grad(loss)(pair.fast, key)
        updates, opt_state = lookahead.update(grads, opt_state, pair)
        pair = optax.apply_updates(pair, updates)
    assert_same(pair.fast, pair.slow, rtol=1e-6)
    assert all(np.any(np.asarray(pair.slow[name]) != np.asarray(params[name])) for name in params)


def test_a_model_with_array_priors_can_be_donated():
    """No two layers may share the array of their prior."""
    optimizer = optax.adam(1e-2)
    state = dq.TrainState.create(MODELS["MLP with an array prior"](), optimizer)

    def step(state, key):
        return dq.train_step(state, X, LABELS, key=key, objective=OBJECTIVE, optimizer=optimizer)[0]

    state = jax.jit(step, donate_argnums=0)(state, KEY)
    assert int(state.step) == 1


def test_whole_numbers_beside_the_weights_are_kept():
    """The parameters may hold integers, if these are not chosen to be Bayesian."""
    params = {"w": jnp.ones((3, 2)), "positions": jnp.arange(2), "shift": 3}

    def apply(params, x):
        return x @ params["w"][:, params["positions"]] + jnp.asarray(params["shift"], x.dtype)

    model = dq.bayesianize((apply, params), where="w", likelihood=dq.Categorical())
    trained = by_train_step(model, optax.adam(1e-2), 3)
    np.testing.assert_array_equal(nnx.to_pure_dict(nnx.state(trained))["rest"]["positions"], [0, 1])
    assert int(nnx.to_pure_dict(nnx.state(trained))["rest"]["shift"]) == 3
    assert set(dq.partition(model)[0]) == {"posterior.mu.w", "posterior.rho.w"}
