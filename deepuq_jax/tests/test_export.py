"""A build of JAX for the CPU lowers training and prediction for accelerators, and exports them to a file."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax import export

import deepuq_jax as dq
from deepuq_jax import estimators
from deepuq_jax.tests.profiles import small_profile
from deepuq_jax.training.state import TrainState

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
X, Y, ADAM = jnp.ones((8, 4)), jnp.zeros(8, int), optax.adam(1e-2)
WORDS = jax.random.key_data(jax.random.key(0))


def functions(estimator):
    """Return three functions and their first argument, a list of arrays, since a file holds no types of pytrees."""
    model = dq.BayesByBackpropMLP(4, (), 3, likelihood=dq.Categorical(), estimator=estimator, rngs=nnx.Rngs(0))
    start = TrainState.create(model, ADAM)

    def train_step(leaves, words):
        state = jax.tree.unflatten(jax.tree.structure(start), leaves)
        key = jax.random.wrap_key_data(words)
        after, terms = dq.train_step(state, X, Y, key=key, objective=dq.ELBO(num_data=8), optimizer=ADAM)
        return jax.tree.leaves(after), terms.loss

    def train_epoch(leaves, words):
        state = jax.tree.unflatten(jax.tree.structure(start), leaves)
        key = jax.random.wrap_key_data(words)
        after, terms = dq.train_epoch(state, X, Y, key=key, optimizer=ADAM, batch_size=4)
        return jax.tree.leaves(after), terms.loss

    def predict_vi_uq(leaves, words):
        model = jax.tree.unflatten(jax.tree.structure(start), leaves).model
        # By default, the number of draws at once depends on the machine that exports, so it is set here.
        result = dq.predict_vi_uq(model, X, key=jax.random.wrap_key_data(words), n_samples=4, draws_at_once=2)
        return result.mean, result.total_var

    return (train_step, train_epoch, predict_vi_uq), jax.tree.leaves(start)


@pytest.mark.slow
@pytest.mark.parametrize("name", small_profile(estimators.__all__, ["flipout", "weight_sampling"]))
def test_every_function_lowers_for_every_platform(name):
    found, leaves = functions(getattr(estimators, name))
    for function in found:
        exported = export.export(jax.jit(function), platforms=PLATFORMS)(leaves, WORDS)
        assert exported.platforms == PLATFORMS


@pytest.mark.slow
def test_an_exported_function_survives_its_file():
    pytest.importorskip("flatbuffers")
    (step, _, predict), leaves = functions(estimators.weight_sampling)
    for function in (step, predict):
        written = export.export(jax.jit(function), platforms=PLATFORMS)(leaves, WORDS).serialize()
        read = jax.jit(export.deserialize(bytearray(written)).call)
        found, expected = (jax.tree.leaves(call(leaves, WORDS)) for call in (read, jax.jit(function)))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)
