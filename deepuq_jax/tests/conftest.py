"""Fixtures of the JAX tests: precision, keys, and strict rank promotion."""

import gc

import jax
import jax.numpy as jnp
import pytest
from hypothesis import settings

# Tracing makes millions of small objects, nearly all without cycles. Collecting less often saves a tenth of the time.
gc.set_threshold(200_000, 20, 50)

# Compiling takes longer than the default deadline of hypothesis, which is 200 ms per case.
settings.register_profile("compiled", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("compiled")


@pytest.fixture(autouse=True)
def strict_rank_promotion():
    """Raise an error if our own code ever broadcasts [N] against [N, 1]."""
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def x64():
    """Turn on double precision for one test."""
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", True)
    yield jnp.float64
    jax.config.update("jax_enable_x64", before)


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """Run the test in both precisions, with x64 on for the second only."""
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", request.param == "float64")
    yield jnp.dtype(request.param)
    jax.config.update("jax_enable_x64", before)


@pytest.fixture
def key():
    """Return the key that most tests start from."""
    return jax.random.key(0)
