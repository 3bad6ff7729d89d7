"""Long training, threads, and JAX's own modes of strictness."""

import gc
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import deepuq_jax as dq

KEY = jax.random.key(0)
SGD = optax.sgd(1e-2)
X = jnp.linspace(-1.0, 1.0, 16, dtype=jnp.float32).reshape(8, 2)
Y = X[:, :1]
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
STATM = Path("/proc/self/statm")


def model():
    return dq.BayesByBackpropMLP(2, (4,), 1, likelihood=dq.Gaussian(0.5), rngs=nnx.Rngs(0))


def resident():
    """Return the resident memory of the process in bytes."""
    gc.collect()
    return int(STATM.read_text().split()[1]) * PAGE


def run_steps(step, state, first, count):
    for i in range(first, first + count):
        state, _ = step(state, X, Y, key=jax.random.fold_in(KEY, i))
    return jax.block_until_ready(state)


def check_steps(steps, compilations):
    objective = dq.ELBO(8, kl_weight=dq.schedules.linear(steps))

    @jax.jit
    def step(state, x, y, *, key):
        return dq.train_step(state, x, y, key=key, objective=objective, optimizer=SGD)

    warm = steps // 10
    state = run_steps(step, dq.TrainState.create(model(), SGD), 0, warm)
    before, programs = resident(), len(compilations)
    state = run_steps(step, state, warm, steps - warm)
    assert len(compilations) == programs
    assert int(state.step) == steps
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(state.params))
    # The allocator may take a few more arenas. A leak of one array per step would take more in 100,000 steps.
    assert resident() - before < 4 * 2**20


@pytest.mark.slow
@pytest.mark.skipif(not STATM.exists(), reason="the resident memory is read from /proc")
def test_thousands_of_steps_compile_nothing_and_keep_their_memory(compilations):
    check_steps(2_000, compilations)


@pytest.mark.long
@pytest.mark.skipif(not STATM.exists(), reason="the resident memory is read from /proc")
def test_a_hundred_thousand_steps_compile_nothing_and_keep_their_memory(compilations):
    check_steps(100_000, compilations)


@pytest.mark.slow
def test_repeated_fits_and_predictions_compile_nothing_more(compilations):
    def once(seed):
        fitted = dq.fit(model(), X, Y, key=jax.random.key(seed), optimizer=SGD, epochs=2, batch_size=4).model
        dq.predict_vi_uq(fitted, X, key=KEY, n_samples=3)

    once(0)
    once(1)
    programs = len(compilations)
    for seed in range(2, 6):
        once(seed)
    assert len(compilations) == programs


@pytest.mark.slow
def test_eight_threads_predict_as_one_does():
    one = model()

    def predict(i):
        result = dq.predict_vi_uq(one, X + i % 4, key=jax.random.fold_in(KEY, i), n_samples=3)
        density = dq.log_predictive_density(one, X, Y, key=jax.random.fold_in(KEY, i), n_samples=3)
        return [np.asarray(part) for part in (result.mean, result.total_var, density)]

    with ThreadPoolExecutor(8) as pool:  # The threads are first, so that they also trace and compile at once.
        at_once = list(pool.map(predict, range(32)))
    for i, parts in enumerate(at_once):
        for part, alone in zip(parts, predict(i), strict=True):
            np.testing.assert_array_equal(part, alone)


USES = {
    "fit": lambda: dq.fit(model(), X, Y, key=KEY, optimizer=SGD, epochs=1, batch_size=4).history["loss"],
    "train_step": lambda: (
        dq.train_step(dq.TrainState.create(model(), SGD), X, Y, key=KEY, objective=dq.ELBO(8), optimizer=SGD)[1].loss
    ),
    "predict_vi_uq": lambda: dq.predict_vi_uq(model(), X, key=KEY, n_samples=2).total_var,
    "log_predictive_density": lambda: dq.log_predictive_density(model(), X, Y, key=KEY, n_samples=2),
    "negative_elbo": lambda: dq.negative_elbo(model(), X, Y, key=KEY, num_data=8)[0],
    "vi_elbo_step": lambda: dq.vi_elbo_step(model(), X, Y, num_batches=2, key=KEY)[0],
    "draw": lambda: dq.draw(model(), key=KEY)(X),
    "prune": lambda: dq.prune(model(), 0.5).kl(),
    "gradient": lambda: jax.tree.leaves(nnx.grad(lambda net: net.kl())(model()))[0],
    "metrics": lambda: dq.metrics.crps((Y, jnp.ones_like(Y)), Y),
    "relu_moments": lambda: dq.functional.relu_moments(Y, jnp.ones_like(Y))[1],
}
MODES = {
    "leaks": jax.checking_leaks,
    "strict dtypes": lambda: jax.numpy_dtype_promotion("strict"),
    "NaN": lambda: jax.debug_nans(True),
}


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_strict_mode_finds_nothing_in_an_objective(mode):
    with MODES[mode]():
        loss, _ = dq.negative_elbo(model(), X, Y, key=KEY, num_data=8)
        assert np.isfinite(loss)


@pytest.mark.long
@pytest.mark.parametrize("mode", MODES)
def test_strict_modes_of_jax_find_nothing(mode):
    """The strict mode of rank promotion is on in every test of the package, by a fixture."""
    for name, use in USES.items():
        jax.clear_caches()  # A program compiled in another mode is not checked again.
        with MODES[mode]():
            assert np.isfinite(np.asarray(use())).all(), name
