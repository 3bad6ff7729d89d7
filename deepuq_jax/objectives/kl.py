"""The KL divergence of a model."""

from __future__ import annotations

from typing import Any

from jax import Array

from deepuq_jax.model.base import as_model


def kl_divergence(model: Any, *, key: Array | None = None, noise: Any = None) -> Array:
    """KL(q || p) of a model: its own `kl()`, or the sum over its topmost Bayesian nodes.

    A node reached by two paths counts once here and under `nnx.jit`; `jax.jit` and `jax.grad` turn tied modules into
    copies, so tie through `bayesianize`, which keeps one posterior. `fit` and `TrainState.create` refuse what is tied.

    Args:
        model: any pytree with Bayesian layers in it.
        key: where a prior has no closed form: the estimate is at the weights that `model(x, key=key)` draws, and
            without a `kl` of the model's own at an independent draw for each node.
        noise: instead of the key, for a model with a `kl` of its own.
    Returns:
        A scalar, nats.
    Raises:
        ValueError: no Bayesian node, or no closed form and no key.

    >>> from flax import nnx
    >>> from deepuq_jax import BayesByBackpropMLP
    >>> float(kl_divergence(BayesByBackpropMLP(2, (4,), 1, rngs=nnx.Rngs(0)))) > 0
    True
    """
    return as_model(model).kl(key, noise=noise)
