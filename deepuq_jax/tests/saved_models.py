"""Helpers of the tests of saving: models, and the comparison of a loaded model with the saved one."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import deepuq_jax as dq


def same(model, other):
    """Whether two models are equal bit for bit, with equal static parts.

    Equal static parts mean that programs compiled for the one run for the other.
    """
    structure = jax.tree.structure(model)
    if structure != jax.tree.structure(other) or hash(structure) != hash(jax.tree.structure(other)):
        return False
    return all(map(_same_array, jax.tree.leaves(model), jax.tree.leaves(other)))


def _same_array(one, other):
    if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
        return one.dtype == other.dtype and _same_array(jax.random.key_data(one), jax.random.key_data(other))
    return one.dtype == other.dtype and np.asarray(one).tobytes() == np.asarray(other).tobytes()


def round_trip(model, path, like=None):
    dq.save(path, model)
    return dq.load(path, like=like)


def linear(**options):
    """Build a layer of the shape that most tests share."""
    return dq.BayesianLinear(4, 2, rngs=nnx.Rngs(0), **options)


def flax_stack(rate=0.5):
    """Build a network of the Flax layers that a file may hold, with a Bayesian last layer."""
    rngs = nnx.Rngs(0)
    return dq.Sequential(
        nnx.Conv(2, 4, (3,), rngs=rngs),
        nnx.BatchNorm(4, rngs=rngs),
        nnx.relu,
        nnx.Sequential(nnx.LayerNorm(4, rngs=rngs), jnp.tanh, nnx.Linear(4, 4, rngs=rngs)),
        nnx.Dropout(rate, rngs=rngs),
        dq.BayesianLinear(4, 2, rngs=rngs),
        likelihood=dq.Categorical((1.0, 2.0), 0.1),
    )


def in_mode(model, is_evaluated):
    model.eval() if is_evaluated else model.train()
    return model


class OwnNet(nnx.Module):
    """A user's class, with a Bayesian layer, dropout and a setting."""

    def __init__(self, width=4, rate=0.5, *, rngs):
        self.width, self.rate = width, rate
        self.layer = dq.BayesianLinear(width, 2, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)

    def __call__(self, x, *, key=None):
        return self.layer(self.dropout(x), key=key)

    def kl(self, key=None):
        return self.layer.kl(key)
