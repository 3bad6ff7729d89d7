"""Streaming moments over Monte Carlo draws, and entropies.

Welford's update and Chan's merge keep a mean and a sum of squared deviations. The memory therefore does not grow with
the number of draws, and float32 keeps a spread of 0.01 around 100.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._arguments import check_dtype, check_lengths, real_arrays
from deepuq_jax._checks import check_real, expected
from deepuq_jax.functional.gaussian import at_least_float32


class Moments(NamedTuple):
    """Running moments of a stream of arrays.

    Attributes:
        count: number of arrays so far, a float scalar.
        mean: mean of the arrays, of their common shape.
        m2: sum of the squared deviations from `mean`.
    """

    count: Array
    mean: Array
    m2: Array


def empty_moments(shape: tuple[int, ...], dtype: Any) -> Moments:
    """Moments of an empty stream of arrays.

    Args:
        shape: shape of the arrays to come.
        dtype: their dtype; the moments are kept in at least float32.

    >>> empty_moments((2,), jnp.float32).count
    Array(0., dtype=float32)
    """
    shape = check_lengths("shape", shape)
    zeros = at_least_float32(jnp.zeros(shape, check_dtype("dtype", dtype)))
    return Moments(jnp.zeros((), zeros.dtype), zeros, zeros)


def check_moments(name: str, moments: Any) -> None:
    """Require moments of a scalar count, and a mean and m2 of one shape."""
    if not isinstance(moments, Moments):
        raise TypeError(expected(name, "to be Moments, as from empty_moments", moments))
    for part, value in zip(("count", "mean", "m2"), moments, strict=True):
        check_real(f"{name}.{part}", value)
    if jnp.shape(moments.count) != ():
        raise ValueError(expected(f"{name}.count", "to be a scalar", moments.count))
    if jnp.shape(moments.m2) != jnp.shape(moments.mean):
        raise ValueError(
            expected(f"{name}.m2", f"of the shape of the mean, {list(jnp.shape(moments.mean))}", moments.m2)
        )


def update_moments(moments: Moments, value: Array) -> Moments:
    """Add an array to the moments.

    mean' = mean + (x - mean) / n,  m2' = m2 + (x - mean) (x - mean')      (Welford 1962)

    >>> m = update_moments(update_moments(empty_moments((), jnp.float32), 1.0), 3.0)
    >>> float(m.mean), float(variance(m))
    (2.0, 1.0)
    """
    check_moments("moments", moments)
    value = at_least_float32(check_real("value", value))
    if value.shape != jnp.shape(moments.mean):
        raise ValueError(expected("value", f"of the shape of the moments, {list(jnp.shape(moments.mean))}", value))
    count = moments.count + 1.0
    delta = value - moments.mean
    mean = moments.mean + delta / count
    return Moments(count, mean, moments.m2 + delta * (value - mean))


def merge_moments(a: Moments, b: Moments) -> Moments:
    """Merge the moments of two streams.

    m2 = m2_a + m2_b + (mean_b - mean_a)^2 n_a n_b / n      (Chan, Golub & LeVeque 1979)

    >>> one = update_moments(empty_moments((), jnp.float32), 1.0)
    >>> three = update_moments(empty_moments((), jnp.float32), 3.0)
    >>> float(variance(merge_moments(one, three)))
    1.0
    """
    check_moments("a", a)
    check_moments("b", b)
    if jnp.shape(a.mean) != jnp.shape(b.mean):
        raise ValueError(expected("b", f"of the shape of a, {list(jnp.shape(a.mean))}", b.mean))
    count = a.count + b.count
    share = b.count / jnp.maximum(count, 1.0)
    delta = b.mean - a.mean
    return Moments(count, a.mean + delta * share, a.m2 + b.m2 + jnp.square(delta) * a.count * share)


def variance(moments: Moments) -> Array:
    """Biased variance, divided by n as in Deep-UQ.

    >>> float(variance(empty_moments((), jnp.float32)))
    0.0
    """
    check_moments("moments", moments)
    return moments.m2 / jnp.maximum(moments.count, 1.0)


@real_arrays("log_probs", min_axes=1)
def entropy(log_probs: Array) -> Array:
    """Shannon entropy of categorical distributions in nats.

    H = -sum_c p_c log p_c over the last axis, with 0 log 0 = 0.

    Args:
        log_probs: normalized log probabilities, [..., classes].
    Returns:
        entropy in nats, [...], between 0 and log(classes).

    >>> float(entropy(jnp.log(jnp.array([0.5, 0.5]))))
    0.693...
    """
    log_probs = at_least_float32(log_probs)
    probs = jnp.exp(log_probs)
    return -jnp.sum(probs * jnp.where(probs > 0, log_probs, 0.0), axis=-1)


@real_arrays("probs", min_axes=1)
def entropy_of_probs(probs: Array) -> Array:
    """Shannon entropy in nats, from probabilities.

    H = -sum_c p_c log p_c over the last axis, with 0 log 0 = 0.

    Args:
        probs: class probabilities, [..., classes].
    Returns:
        entropy in nats, [...], between 0 and log(classes).

    >>> float(entropy_of_probs(jnp.array([1.0, 0.0])))
    0.0
    """
    return jnp.sum(jax.scipy.special.entr(at_least_float32(probs)), axis=-1)
