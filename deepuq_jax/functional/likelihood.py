"""Log-likelihoods of targets under a model's outputs, as functions on arrays: nats per example.

The likelihoods that a model carries, in `deepuq_jax.likelihoods`, are made of these.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import check_range, expected, is_concrete
from deepuq_jax.functional.gaussian import HALF_LOG_2PI, at_least_float32, sigma_from_rho

# The floor under a learned variance, as documented: softplus(v) + 1e-6.
MIN_VARIANCE = 1e-6


def sum_per_example(values: Array) -> Array:
    """Sum over all axes but the first: [batch, ...] -> [batch]."""
    return values.sum(axis=tuple(range(1, values.ndim)))


def _check_target_shape(y: Array, shape: tuple[int, ...]) -> None:
    """A target [B] beside outputs [B, 1] would broadcast to [B, B] in silence."""
    if jnp.shape(y) != shape:
        raise ValueError(expected("y", f"of shape [{', '.join(map(str, shape))}], as the outputs have", y))


def categorical_log_likelihood(outputs: Array, y: Array) -> Array:
    """Log-probability of integer labels under logits.

    log p(y | x, w) = log softmax(outputs)[y]

    Args:
        outputs: logits [batch, classes], or [batch, ..., classes] with labels [batch, ...], which are summed.
        y: integer labels in 0 ... classes - 1.
    Returns:
        [batch], nats.
    Raises:
        TypeError: labels that are not integers. ValueError: wrong shape or, on concrete arrays, labels out of range.

    >>> categorical_log_likelihood(jnp.zeros((1, 2)), jnp.array([1]))
    Array([-0.6931...], dtype=float32)
    """
    y = y if is_concrete(y) else jnp.asarray(y)
    if not jnp.issubdtype(y.dtype, jnp.integer):
        raise TypeError(expected("y", "to be integer labels for a categorical likelihood", y))
    if outputs.ndim < 2:
        raise ValueError(expected("outputs", "to be logits [batch, classes]", outputs))
    _check_target_shape(y, outputs.shape[:-1])
    check_range("y", "labels", y, outputs.shape[-1])
    log_probs = jax.nn.log_softmax(at_least_float32(outputs), axis=-1)
    # One-hot rather than a gather: the gradient is then a product, not a scatter.
    is_label = jax.nn.one_hot(y, outputs.shape[-1], dtype=bool)
    return sum_per_example(jnp.where(is_label, log_probs, 0.0).sum(axis=-1))


def gaussian_log_likelihood(outputs: Array, y: Array, sigma: Array | float) -> Array:
    """Log-density of real targets around the outputs, with known noise.

    log p(y | x, w) = sum_d log N(y_d; outputs_d, sigma^2)

    Args:
        outputs, y: [batch] or [batch, ...], the same shape.
        sigma: standard deviation of the noise, in units of `y`.
    Returns:
        [batch], nats.
    Raises:
        ValueError: `y` of another shape than `outputs`.

    >>> gaussian_log_likelihood(jnp.zeros((1, 1)), jnp.zeros((1, 1)), 1.0)
    Array([-0.9189...], dtype=float32)
    """
    _check_target_shape(y, outputs.shape)
    sigma = jnp.asarray(sigma, dtype=at_least_float32(outputs).dtype)
    z = (at_least_float32(y) - at_least_float32(outputs)) / sigma
    return sum_per_example(-0.5 * jnp.square(z) - jnp.log(sigma) - HALF_LOG_2PI)


def mean_squared_error(outputs: Array, y: Array) -> Array:
    """Mean squared error that refuses to broadcast.

    mean over every entry of (y - outputs)^2

    Args:
        outputs, y: [batch, ...], the same shape.
    Returns:
        A scalar, in squared units of `y`.
    Raises:
        ValueError: `y` of another shape than `outputs`.

    >>> mean_squared_error(jnp.array([[1.0], [3.0]]), jnp.zeros((2, 1)))
    Array(5., dtype=float32)
    """
    _check_target_shape(y, outputs.shape)
    return jnp.mean(jnp.square(at_least_float32(y) - at_least_float32(outputs)))


def variance_from_raw(raw_var: Array) -> Array:
    """Variance (not a std) of a raw output: softplus(raw_var) + 1e-6, in at least float32.

    >>> float(variance_from_raw(jnp.array(0.0)))
    0.6931...
    """
    return sigma_from_rho(at_least_float32(raw_var)) + MIN_VARIANCE


def split_mean_variance(outputs: Array) -> tuple[Array, Array]:
    """Means and variances from the two halves of the last axis.

    variance = softplus(raw) + 1e-6

    Args:
        outputs: [..., 2 d]: d means, then d raw variances.
    Returns:
        (mean, variance), each [..., d], in at least float32.
    Raises:
        ValueError: a last axis of odd size.

    >>> mean, var = split_mean_variance(jnp.array([[3.0, 0.0]]))
    >>> float(mean[0, 0]), float(var[0, 0])
    (3.0, 0.6931...)
    """
    if outputs.ndim < 1 or outputs.shape[-1] % 2 or outputs.shape[-1] == 0:
        raise ValueError(expected("outputs", "to have shape [..., 2 d]: d means, then d raw variances", outputs))
    mean, raw = jnp.split(at_least_float32(outputs), 2, axis=-1)
    return mean, variance_from_raw(raw)


def heteroscedastic_log_likelihood(outputs: Array, y: Array) -> Array:
    """Log-density of real targets with noise that the model predicts.

    log p(y | x, w) = sum_d log N(y_d; m_d, v_d),  (m, v) = split_mean_variance(outputs)

    Args:
        outputs: [batch, 2 d]. y: [batch, d].
    Returns:
        [batch], nats.
    Raises:
        ValueError: `y` not [batch, d].
    Source: Nix & Weigend 1994; Kendall & Gal 2017, arXiv 1703.04977.

    >>> heteroscedastic_log_likelihood(jnp.zeros((1, 2)), jnp.zeros((1, 1)))
    Array([-0.7356...], dtype=float32)
    """
    return sum_per_example(-_heteroscedastic_nll(outputs, y) - HALF_LOG_2PI)


def heteroscedastic_nll(outputs: Array, y: Array) -> Array:
    """The documented score of outputs that hold their own noise: the Gaussian one without its constant.

    sum_d 1/2 ((y_d - m_d)^2 / v_d + log v_d), mean over the rest;  (m, v) = split_mean_variance(outputs)

    Args:
        outputs: [..., 2 d]. y: [..., d].
    Returns:
        A scalar: short of nats per example by 1/2 log(2 pi) a target.
    Raises:
        ValueError: `y` not [..., d].

    >>> heteroscedastic_nll(jnp.zeros((1, 2)), jnp.zeros((1, 1)))
    Array(-0.1832..., dtype=float32)
    """
    return jnp.mean(_heteroscedastic_nll(outputs, y).sum(axis=-1))


def _heteroscedastic_nll(outputs: Array, y: Array) -> Array:
    """[..., d]: the score of each target, without the constant."""
    mean, var = split_mean_variance(outputs)
    _check_target_shape(y, mean.shape)
    return nll_up_to_constant(at_least_float32(y) - mean, var)


def nll_up_to_constant(deviation: Array, var: Array) -> Array:
    """1/2 (deviation^2 / var + log var), element by element: minus log N(y; y - deviation, var) but for log(2 pi) / 2.

    >>> nll_up_to_constant(jnp.array([2.0]), jnp.array([1.0]))
    Array([2.], dtype=float32)
    """
    return 0.5 * (jnp.square(deviation) / var + jnp.log(var))
