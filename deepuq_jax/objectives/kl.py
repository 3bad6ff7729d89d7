"""The KL divergence of a model."""

from __future__ import annotations

from typing import Any

from jax import Array

from deepuq_jax.model.own import as_model


def kl_divergence(model: Any, *, key: Array | None = None, noise: Any = None) -> Array:
    """Compute KL(q || p) of a model.

    It is the model's `kl()`, or the sum over the topmost Bayesian nodes of a model without `kl`. A node that two paths
    reach counts once here and under `nnx.jit`, but `jax.jit` and `jax.grad` turn tied modules into copies. To tie
    weights, use `bayesianize`, which keeps a single posterior for them. `fit` and `TrainState.create` refuse tied
    modules.

    Args:
        model: any pytree with Bayesian layers in it.
        key: needed if the KL has no closed form. It is then estimated at weights drawn with the key; under weight
            sampling, these are the weights of `model(x, key=key)`. For a model without `kl`, each node gets an
            independent draw.
        noise: noise in place of the key, for a model with its own `kl`.
    Returns:
        KL in nats, a scalar.
    Raises:
        ValueError: there is no Bayesian node, or the KL has no closed form and no key is given.

    >>> from flax import nnx
    >>> from deepuq_jax import BayesByBackpropMLP
    >>> float(kl_divergence(BayesByBackpropMLP(2, (4,), 1, rngs=nnx.Rngs(0)))) > 0
    True
    """
    return as_model(model).kl(key, noise=noise)
