"""Moment propagation: closed-form mean and variance of the outputs.

Source: Wu et al. 2019, arXiv 1810.03958, in its diagonal form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array

from deepuq_jax.functional.gaussian import at_least_float32
from deepuq_jax.model.own import as_model
from deepuq_jax.noise import FromKey, draw_key, normal_like


def propagated_moments(model: Any, x: Any) -> tuple[Array, Array]:
    """Compute the outputs' mean and variance over the weights.

    Returns:
        (mean, variance) of the outputs, in at least float32.
    Raises:
        ValueError: the model cannot propagate moments.
    """
    mean, var = as_model(model).propagate(x)
    return at_least_float32(mean), at_least_float32(var)


def propagated_outputs(model: Any, x: Any, source: FromKey) -> Callable[[Any], Any]:
    """Return the function i -> draw i of the outputs.

    The draws come from Gaussians with the propagated moments.
    """
    mean, var = as_model(model).propagate(x)

    def outputs(i: Any) -> Array:
        noise = normal_like(draw_key(source.key, i), mean).astype(mean.dtype)
        return mean + jnp.sqrt(var) * noise

    return outputs
