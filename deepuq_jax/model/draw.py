"""Draw a function from the posterior."""

from __future__ import annotations

from typing import Any

from jax import Array

from deepuq_jax._checks import check_key
from deepuq_jax.model.own import as_model, check_model


def draw(model: Any, *, key: Array) -> Any:
    """Fix a model's weights at a single draw.

    f = draw(model, key=k) is a deterministic function, as needed for Thompson sampling or rollouts. Under weight
    sampling f(x) = model(x, key=k) for every x, and f.kl() = 0.

    Args:
        model: a Bayesian model. In a pytree of layers that cannot be called, such as a dict, each layer gets a separate
            key.
        key: a single key of `jax.random.key`.
    Returns:
        A model that ignores the key of its calls.
    Raises:
        TypeError, ValueError: the model has no Bayesian layer.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from deepuq_jax import BayesianLinear
    >>> layer, k = BayesianLinear(2, 1, rngs=nnx.Rngs(0)), jax.random.key(1)
    >>> f = draw(layer, key=k)
    >>> bool((f(jnp.ones((3, 2))) == layer(jnp.ones((3, 2)), key=k)).all())
    True
    """
    if callable(model):
        check_model(model)
    check_key(key)
    return as_model(model).draw(key=key)
