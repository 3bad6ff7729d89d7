"""How an estimator names the noise it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import jax.numpy as jnp
from jax import Array

from deepuq_jax.types import Estimator


def with_noise(draw_noise: Callable) -> Callable[[Callable], Estimator]:
    """Decorator: give an estimator the function that draws its noise, as its attribute `draw_noise`."""

    def attach(function: Callable) -> Estimator:
        estimator = cast(Estimator, function)
        estimator.draw_noise = draw_noise
        return estimator

    return attach


def add_bias(outputs: Array, bias: Array) -> Array:
    """Outputs [..., out_features] plus a bias [out_features], in the outputs' dtype."""
    return outputs + jnp.broadcast_to(bias.astype(outputs.dtype), outputs.shape)
