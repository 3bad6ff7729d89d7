"""Likelihood of real targets with heavy-tailed noise.

Source: Lange, Little & Taylor 1989, Robust statistical modeling using the t distribution.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._arguments import real_arrays
from deepuq_jax._checks import check_key, expected
from deepuq_jax.functional.gaussian import at_least_float32, sigma_from_rho
from deepuq_jax.functional.likelihood import check_target_shape, points_of, variance_from_raw
from deepuq_jax.functional.student_t import student_t_cdf, student_t_log_prob
from deepuq_jax.likelihoods.base import FactorizedLikelihood


@dataclass(frozen=True)
class StudentT(FactorizedLikelihood):
    """Likelihood of real targets with Student-t noise.

    (y_d - m_d) / s_d ~ t(df_d),  s_d^2 = softplus(raw_scale_d) + 1e-6,  df_d = 2 + softplus(raw_df_d)

    The targets are [batch, d]. The outputs are [batch, 3 d]: d locations m, d raw squared scales, d raw degrees of
    freedom, as `LearnedStudentTNoise` appends them to the locations. More than two degrees of freedom keep the variance
    finite; the noise is nearly Gaussian from about 30 on. A deviation whose square overflows gives an infinity or NaN.

    >>> mean, var = StudentT().moments(jnp.zeros((4, 6)))
    >>> mean.shape, var.shape
    ((4, 2), (4, 2))
    """

    @real_arrays("outputs", "y", broadcast=False, min_axes=1)
    def log_prob_per_target(self, outputs: Array, y: Array) -> Array:
        """Log density of each target in nats, of the shape of `y`."""
        location, scale, df = _parts(outputs)
        check_target_shape(y, location.shape)
        return student_t_log_prob((at_least_float32(y) - location) / scale, df) - jnp.log(scale)

    @real_arrays("outputs", min_axes=1)
    def moments(self, outputs: Array) -> tuple[Array, Array]:
        """Locations as means, and variances s^2 df / (df - 2), each [batch, d]."""
        location, scale, df = _parts(outputs)
        return location, jnp.square(scale) * df / (df - 2.0)

    @real_arrays("outputs", min_axes=1)
    def sample(self, outputs: Array, *, key: Array) -> Array:
        """Draw targets, one per location."""
        check_key(key)
        location, scale, df = _parts(outputs)
        return location + scale * jax.random.t(key, df, location.shape, location.dtype)

    @real_arrays("outputs", min_axes=1)
    def cdf(self, outputs: Array, t: Array) -> Array:
        """Compute P(y <= t | outputs) per target."""
        location, scale, df = _parts(outputs)
        return student_t_cdf((points_of("t", t, location) - location) / scale, df)


def _parts(outputs: Array) -> tuple[Array, Array, Array]:
    """Return locations, scales and degrees of freedom, each [..., d]."""
    if outputs.ndim < 1 or outputs.shape[-1] % 3 or outputs.shape[-1] == 0:
        what = "to have shape [..., 3 d]: d locations, d raw squared scales, d raw degrees of freedom"
        raise ValueError(expected("outputs", what, outputs))
    location, raw_scale, raw_df = jnp.split(at_least_float32(outputs), 3, axis=-1)
    return location, jnp.sqrt(variance_from_raw(raw_scale)), 2.0 + sigma_from_rho(raw_df)
