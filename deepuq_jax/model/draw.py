"""One function drawn from the posterior."""

from __future__ import annotations

from typing import Any

from jax import Array

from deepuq_jax._checks import check_key
from deepuq_jax.model.base import as_model


def draw(model: Any, *, key: Array) -> Any:
    """The same model with every weight fixed at one draw.

    f = draw(model, key=k) has f(x) = model(x, key=k) for every x under weight sampling, and f.kl() = 0: one
    deterministic function, for Thompson sampling or rollouts.

    Args:
        model: with a method `draw(key=...)`, or any pytree of Bayesian layers (each then gets a key of its own).
        key: one key of `jax.random.key`.
    Returns:
        A model that ignores the key it is called with.
    Raises:
        ValueError: no Bayesian layer in the model.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from deepuq_jax import BayesianLinear
    >>> layer, k = BayesianLinear(2, 1, rngs=nnx.Rngs(0)), jax.random.key(1)
    >>> f = draw(layer, key=k)
    >>> bool((f(jnp.ones((3, 2))) == layer(jnp.ones((3, 2)), key=k)).all())
    True
    """
    check_key(key)
    return as_model(model).draw(key=key)
