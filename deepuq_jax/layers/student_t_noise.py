"""Learned Student-t noise that is constant over the inputs."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array

from deepuq_jax._checks import check_last_axis, check_size
from deepuq_jax.layers.homoscedastic import INITIAL_RAW_VARIANCE

# Solves 2 + softplus(raw) = 10, so the noise starts near a Gaussian.
INITIAL_RAW_DF = math.log(math.expm1(8.0))


class LearnedStudentTNoise(nnx.Module):
    """Append learned Student-t noise to the locations of targets.

    (y_d - m_d) / s_d ~ t(df_d), as `StudentT` reads the outputs. The layer appends a trained raw squared scale and raw
    degrees of freedom per target. The noise is the same for every input, and starts with s = 1 and df = 10. Use this
    layer as the last member of a `Sequential` whose other members compute the locations. The layer has no posterior and
    does not enter the KL.

    Args:
        output_dim: number of targets.
        param_dtype: dtype of `raw_scale` and `raw_df` [output_dim].

    >>> LearnedStudentTNoise(2)(jnp.zeros((5, 2))).shape
    (5, 6)
    """

    def __init__(self, output_dim: int, *, param_dtype: Any = jnp.float32):
        self.output_dim: int = check_size("output_dim", output_dim)
        self.raw_scale: nnx.Param[Array] = nnx.Param(jnp.full(self.output_dim, INITIAL_RAW_VARIANCE, param_dtype))
        self.raw_df: nnx.Param[Array] = nnx.Param(jnp.full(self.output_dim, INITIAL_RAW_DF, param_dtype))

    def __call__(self, locations: Array) -> Array:
        """Return locations, raw scales and raw degrees of freedom, [..., 3 output_dim]."""
        check_last_axis("locations", locations, self.output_dim)
        raw = [jnp.broadcast_to(p[...].astype(locations.dtype), locations.shape) for p in (self.raw_scale, self.raw_df)]
        return jnp.concatenate([locations, *raw], axis=-1)
