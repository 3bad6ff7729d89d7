"""How an estimator names the noise it takes."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array


def with_noise(draw_noise: Callable) -> Callable[[Callable], Callable]:
    """Decorator: give an estimator the function that draws its noise, as its attribute `draw_noise`."""

    def attach(estimator: Callable) -> Callable:
        estimator.draw_noise = draw_noise
        return estimator

    return attach


def add_bias(outputs: Array, bias: Array) -> Array:
    """Outputs [..., out_features] plus a bias [out_features], in the outputs' dtype."""
    return outputs + jnp.broadcast_to(bias.astype(outputs.dtype), outputs.shape)
