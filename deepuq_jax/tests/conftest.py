"""Fixtures of the JAX tests: precision, keys, and strict rank promotion."""

import jax
import jax.numpy as jnp
import pytest
from hypothesis import settings

# Compiling takes longer than hypothesis' default deadline of 200 ms a case.
settings.register_profile("compiled", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("compiled")


@pytest.fixture(autouse=True)
def strict_rank_promotion():
    """[N] against [N, 1] must never broadcast in silence in our own code."""
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def x64():
    """Double precision, given back as it was found."""
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", True)
    yield jnp.float64
    jax.config.update("jax_enable_x64", before)


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """Both precisions; x64 is on for the second only."""
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", request.param == "float64")
    yield jnp.dtype(request.param)
    jax.config.update("jax_enable_x64", before)


@pytest.fixture
def key():
    return jax.random.key(0)
