"""Helpers of the tests of resuming: a run that is stopped, and the comparison of two results bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import deepuq_jax as dq
from deepuq_jax.training import _checkpoint

KEY = jax.random.key(0)
X = np.linspace(-1, 1, 20, dtype=np.float32)[:, None]
Y = X**2 + X / 3
# Tests that share the optimizer, these options, the data and the model share a compiled program.
ADAM = optax.adam(1e-2)
# An epoch has three batches of six rows and one of two.
SMALL = {"key": KEY, "batch_size": 6, "objective": dq.ELBO()}


def with_square(x):
    return jnp.concatenate([x, jnp.square(x)], axis=1)


def parabola(seed=0, likelihood=dq.Gaussian(0.3)):
    """Build a model of one layer, since a training program costs compile time per tensor."""
    return dq.Sequential(with_square, dq.BayesianLinear(2, 1, rngs=nnx.Rngs(seed)), likelihood=likelihood)


def steps_in(folder):
    """Return the training steps of which a folder holds checkpoints."""
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


class Killed(BaseException):
    """Stands in for SIGKILL, after which nothing runs."""


def killed_after(saves, *arguments, **options):
    """Run `fit` up to a number of checkpoints, and leave nothing but the folder."""
    original, done = _checkpoint.Checkpoints._save, []

    def save(self, packed):
        original(self, packed)
        done.append(packed.step)
        if len(done) == saves:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_checkpoint.Checkpoints, "_save", save)
        patch.setattr(_checkpoint.Checkpoints, "save_before", lambda self, error, progress: None)
        with pytest.raises(Killed):
            dq.fit(*arguments, **options)


def assert_same(result, expected):
    """Require equal histories, parameters, carried arrays and optimizer states, with their structure and types."""
    assert set(result.history) == set(expected.history)
    for name, values in expected.history.items():
        assert result.history[name].dtype == values.dtype
        np.testing.assert_array_equal(result.history[name], values, err_msg=name)
    for one, other in ((result.state, expected.state), (result.model, expected.model)):
        assert jax.tree.structure(one) == jax.tree.structure(other)
        pairs = zip(jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(other), strict=True)
        for (path, a), b in pairs:
            assert a.dtype == b.dtype, path
            if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
                a, b = jax.random.key_data(a), jax.random.key_data(b)
            assert a.weak_type == b.weak_type, path
            np.testing.assert_array_equal(a, b, err_msg=str(path))
