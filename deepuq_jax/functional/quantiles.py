"""Quantiles by inversion of a distribution function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax


def invert_cdf(cdf: Callable[[Array], Array], p: Array, dtype: Any, is_discrete: bool) -> Array:
    """Find the smallest t with cdf(t) >= p, element by element.

    The bisection runs over the ordered floating-point numbers, so it needs no bracket and no scale, ends after as many
    steps as the dtype has bits, and returns the whole number for a distribution over whole numbers. The result is as
    exact as the cdf: an error of e in the cdf moves it by e / density.

    For a density, the gradient is that of the implicit function, -(d cdf / d parameters) / density; a quantile of whole
    numbers has gradient 0.

    Args:
        cdf: an increasing function of arrays with the shape of `p`.
        p: probabilities between 0 and 1.
        dtype: float32 or float64.
        is_discrete: whether the cdf is a step function.
    Returns:
        t, of the shape of `p`.

    >>> bool(abs(invert_cdf(jax.scipy.special.ndtr, jnp.array([0.975]), jnp.float32, False)[0] - 1.96) < 1e-4)
    True
    """
    p = jnp.asarray(p, dtype)
    last = jnp.full(p.shape, jnp.finfo(dtype).max, dtype)
    low, high = _number(-last), _number(last)

    def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low >> 1) + (high >> 1) + (low & high & 1)  # The sum of the ends would overflow.
        is_below = cdf(_float(middle, dtype)) < p
        return jnp.where(is_below, middle, low), jnp.where(is_below, high, middle)

    _, high = lax.fori_loop(0, jnp.finfo(dtype).bits, halve, (low, high))
    t = lax.stop_gradient(_float(high, dtype))
    # XLA may treat the numbers below the smallest normal number as 0, and the bisection then ends at such a number.
    t = jnp.where(jnp.abs(t) < jnp.finfo(dtype).tiny, 0.0, t)
    if is_discrete:
        return t
    value, density = jax.jvp(cdf, (t,), (jnp.ones_like(t),))
    change = (p - lax.stop_gradient(p)) - (value - lax.stop_gradient(value))
    return t + change / lax.stop_gradient(jnp.maximum(density, jnp.finfo(dtype).tiny))


def _number(values: Array) -> Array:
    """Number the floats in their order."""
    bits = lax.bitcast_convert_type(values, _integers(values.dtype))
    return jnp.where(bits < 0, bits ^ jnp.iinfo(bits.dtype).max, bits)


def _float(numbers: Array, dtype: Any) -> Array:
    """Invert `_number`."""
    bits = jnp.where(numbers < 0, numbers ^ jnp.iinfo(numbers.dtype).max, numbers)
    return lax.bitcast_convert_type(bits, dtype)


def _integers(dtype: Any) -> Any:
    return jnp.int32 if jnp.finfo(dtype).bits == 32 else jnp.int64
