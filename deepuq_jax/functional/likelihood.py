"""Log-likelihoods of targets given outputs, in nats per example.

The likelihoods of `deepuq_jax.likelihoods`, which a model can carry, are built from these functions on arrays.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from deepuq_jax._arguments import broadcasts_to, real_arrays
from deepuq_jax._checks import check_range, check_real, check_some, expected, is_concrete, nan_outside
from deepuq_jax.functional.gaussian import HALF_LOG_2PI, at_least_float32, sigma_from_rho

# The lower bound of a learned variance, softplus(v) + 1e-6, as in Deep-UQ.
MIN_VARIANCE = 1e-6


def sum_per_example(values: Array) -> Array:
    """Sum [batch, ...] to [batch]."""
    return values.sum(axis=tuple(range(1, values.ndim)))


def check_target_shape(y: Array, shape: tuple[int, ...]) -> None:
    """Require targets of the given shape.

    Without this check, a target [B] and outputs [B, 1] would silently broadcast to [B, B].
    """
    own = jnp.shape(y)
    if own != shape:
        message = expected("y", f"of shape [{', '.join(map(str, shape))}], as the outputs have", y)
        if (*own, 1) == shape:
            message += " Use y[:, None]."
        elif own[:-1] == shape:
            message += " Use y.argmax(1) for one-hot labels, and y[:, 0] for a column."
        raise ValueError(message)


def check_sigma_shape(sigma: Any, shape: tuple[int, ...]) -> None:
    """Require a sigma that broadcasts to the outputs, not beyond."""
    if not broadcasts_to(np.shape(sigma), shape):
        raise ValueError(expected("sigma", f"to broadcast to the outputs, [{', '.join(map(str, shape))}]", sigma))


def points_of(name: str, values: Any, like: Array) -> Array:
    """Broadcast points or probabilities to the shape of an array, in its dtype."""
    if not broadcasts_to(np.shape(check_real(name, values)), like.shape):
        raise ValueError(expected(name, f"to broadcast to the targets, {list(like.shape)}", values))
    return jnp.broadcast_to(jnp.asarray(values, like.dtype), like.shape)


def categorical_log_likelihood(outputs: Array, y: Array) -> Array:
    """Log probability of integer labels given logits.

    log p(y | x, w) = log softmax(outputs)[y]

    Args:
        outputs: logits [batch, classes] or [batch, ..., classes].
        y: integer labels from 0 to classes - 1, [batch] or [batch, ...].
    Returns:
        log probability in nats, [batch]; it is summed over any further axes of the labels.
    Raises:
        TypeError: the labels are not integers. ValueError: the shapes do not match, there is a single class, or a label
            of a concrete array is out of range.

    >>> categorical_log_likelihood(jnp.zeros((1, 2)), jnp.array([1]))
    Array([-0.6931...], dtype=float32)
    """
    return sum_per_example(categorical_log_probs(outputs, y))


@real_arrays("outputs", "y", broadcast=False)
def categorical_log_probs(outputs: Array, y: Array, shares: Any = None) -> Array:
    """Log probability of each label, before the sum per example.

    Args:
        outputs, y: as in `categorical_log_likelihood`.
        shares: a matrix [classes, classes] that replaces log p[y] by sum_c shares[y, c] log p[c], or None.
    Returns:
        log probability in nats, of the shape of `y`.

    >>> categorical_log_probs(jnp.zeros((1, 2)), jnp.array([1]), 3.0 * jnp.eye(2))
    Array([-2.0794...], dtype=float32)
    """
    outputs, y = jnp.asarray(outputs), y if is_concrete(y) else jnp.asarray(y)
    if y.dtype == bool:
        y = y.astype(np.int32)
    if not jnp.issubdtype(y.dtype, jnp.integer):
        raise TypeError(expected("y", "to be integer labels for a categorical likelihood", y))
    check_logits(outputs)
    check_target_shape(y, outputs.shape[:-1])
    check_range("y", "labels", y, outputs.shape[-1])
    log_probs = jax.nn.log_softmax(at_least_float32(outputs), axis=-1)
    if shares is not None:
        rows = jax.nn.one_hot(y, outputs.shape[-1], dtype=log_probs.dtype) @ jnp.asarray(shares, log_probs.dtype)
        found = (rows * log_probs).sum(axis=-1)
    else:
        # With a one-hot mask instead of a gather, the gradient is a product and not a scatter.
        is_label = jax.nn.one_hot(y, outputs.shape[-1], dtype=bool)
        found = jnp.where(is_label, log_probs, 0.0).sum(axis=-1)
    # Inside `jit` the range cannot be checked, and a label out of range would cost nothing.
    return nan_outside(y, outputs.shape[-1], found)


def check_logits(outputs: Array) -> None:
    """Require logits of at least two classes.

    The softmax of a single logit is 1, whatever the logit.
    """
    if outputs.ndim < 2:
        raise ValueError(expected("outputs", "to be logits [batch, classes]", outputs))
    if outputs.shape[-1] < 2:
        message = expected("outputs", "to be logits of at least two classes for Categorical()", outputs)
        raise ValueError(f"{message} Use Bernoulli() for one logit per example.")


def gaussian_log_likelihood(outputs: Array, y: Array, sigma: Array | float) -> Array:
    """Log density of real targets with known Gaussian noise.

    log p(y | x, w) = sum_d log N(y_d; outputs_d, sigma^2)

    Args:
        outputs, y: arrays of the same shape, [batch] or [batch, ...].
        sigma: standard deviation of the noise, in units of `y`. A sigma that is not a positive normal number gives an
            infinity or NaN.
    Returns:
        log density in nats, [batch].
    Raises:
        ValueError: `y` and `outputs` have different shapes.

    >>> gaussian_log_likelihood(jnp.zeros((1, 1)), jnp.zeros((1, 1)), 1.0)
    Array([-0.9189...], dtype=float32)
    """
    return sum_per_example(gaussian_log_densities(outputs, y, sigma))


@real_arrays("outputs", "y", "sigma", broadcast=False)
def gaussian_log_densities(outputs: Array, y: Array, sigma: Array | float) -> Array:
    """Log density of each target, before the sum of `gaussian_log_likelihood`.

    >>> gaussian_log_densities(jnp.zeros((1, 2)), jnp.zeros((1, 2)), 1.0)
    Array([[-0.9189..., -0.9189...]], dtype=float32)
    """
    outputs = jnp.asarray(outputs)
    check_target_shape(y, outputs.shape)
    check_sigma_shape(sigma, outputs.shape)
    sigma = jnp.asarray(sigma, dtype=at_least_float32(outputs).dtype)
    z = (at_least_float32(y) - at_least_float32(outputs)) / sigma
    return -0.5 * jnp.square(z) - jnp.log(sigma) - HALF_LOG_2PI


@real_arrays("outputs", "y", broadcast=False)
def mean_squared_error(outputs: Array, y: Array) -> Array:
    """Mean squared error between arrays of the same shape.

    It is the mean over every entry of (y - outputs)^2.

    Args:
        outputs, y: arrays of the same shape, [batch, ...]; they do not broadcast.
    Returns:
        A scalar, in squared units of `y`.
    Raises:
        ValueError: `y` and `outputs` have different shapes.

    >>> mean_squared_error(jnp.array([[1.0], [3.0]]), jnp.zeros((2, 1)))
    Array(5., dtype=float32)
    """
    outputs = jnp.asarray(outputs)
    check_target_shape(y, outputs.shape)
    check_some("outputs", outputs)
    return jnp.mean(jnp.square(at_least_float32(y) - at_least_float32(outputs)))


@real_arrays("raw_var")
def variance_from_raw(raw_var: Array) -> Array:
    """Variance (not a std) from a raw output.

    The variance is softplus(raw_var) + 1e-6, in at least float32.

    >>> float(variance_from_raw(jnp.array(0.0)))
    0.6931...
    """
    return sigma_from_rho(at_least_float32(raw_var)) + MIN_VARIANCE


@real_arrays("outputs")
def split_mean_variance(outputs: Array) -> tuple[Array, Array]:
    """Split outputs into means and variances.

    variance = softplus(raw) + 1e-6

    Args:
        outputs: d means, then d raw variances, [..., 2 d].
    Returns:
        (mean, variance), each [..., d], in at least float32.
    Raises:
        ValueError: the size of the last axis is odd or zero.

    >>> mean, var = split_mean_variance(jnp.array([[3.0, 0.0]]))
    >>> float(mean[0, 0]), float(var[0, 0])
    (3.0, 0.6931...)
    """
    outputs = jnp.asarray(outputs)
    if outputs.ndim < 1 or outputs.shape[-1] % 2 or outputs.shape[-1] == 0:
        raise ValueError(expected("outputs", "to have shape [..., 2 d]: d means, then d raw variances", outputs))
    mean, raw = jnp.split(at_least_float32(outputs), 2, axis=-1)
    return mean, variance_from_raw(raw)


def split_unless_known(outputs: Array, known: float | None) -> tuple[Array, Array]:
    """Split outputs into numbers m and a positive number p per m.

    If p is known, the outputs are m alone.

    Args:
        outputs: m alone if p is known; otherwise as in `split_mean_variance`, with p in place of the variance.
        known: p, or None.

    >>> m, p = split_unless_known(jnp.zeros((1, 1)), 0.25)
    >>> float(p[0, 0])
    0.25
    """
    if known is None:
        return split_mean_variance(outputs)
    m = at_least_float32(outputs)
    return m, jnp.full_like(m, known)


def heteroscedastic_log_likelihood(outputs: Array, y: Array) -> Array:
    """Log density of real targets with predicted noise.

    log p(y | x, w) = sum_d log N(y_d; m_d, v_d),  (m, v) = split_mean_variance(outputs)

    Args:
        outputs: d means, then d raw variances, [batch, 2 d].
        y: targets, [batch, d].
    Returns:
        log density in nats, [batch].
    Raises:
        ValueError: `y` does not have shape [batch, d].
    Source: Nix & Weigend 1994; Kendall & Gal 2017, arXiv 1703.04977.

    >>> heteroscedastic_log_likelihood(jnp.zeros((1, 2)), jnp.zeros((1, 1)))
    Array([-0.7356...], dtype=float32)
    """
    return sum_per_example(heteroscedastic_log_densities(outputs, y))


def heteroscedastic_log_densities(outputs: Array, y: Array) -> Array:
    """Log density of each target, before the sum of `heteroscedastic_log_likelihood`.

    >>> heteroscedastic_log_densities(jnp.zeros((1, 2)), jnp.zeros((1, 1)))
    Array([[-0.7356...]], dtype=float32)
    """
    return -_heteroscedastic_nll(outputs, y) - HALF_LOG_2PI


def heteroscedastic_nll(outputs: Array, y: Array) -> Array:
    """Gaussian score of Deep-UQ with predicted noise, without its constant.

    It is sum_d 1/2 ((y_d - m_d)^2 / v_d + log v_d), averaged over all other axes, with
    (m, v) = split_mean_variance(outputs).

    Args:
        outputs: d means, then d raw variances, [..., 2 d].
        y: targets, [..., d].
    Returns:
        A scalar. It is less than the negative log density in nats per example by log(2 pi) / 2 per target.
    Raises:
        ValueError: `y` does not have shape [..., d].

    >>> heteroscedastic_nll(jnp.zeros((1, 2)), jnp.zeros((1, 1)))
    Array(-0.1832..., dtype=float32)
    """
    values = _heteroscedastic_nll(outputs, y)
    check_some("outputs", values)
    return jnp.mean(values.sum(axis=-1))


@real_arrays("outputs", "y", broadcast=False)
def _heteroscedastic_nll(outputs: Array, y: Array) -> Array:
    """Score each target without the constant, [..., d]."""
    mean, var = split_mean_variance(outputs)
    check_target_shape(y, mean.shape)
    return nll_up_to_constant(at_least_float32(y) - mean, var)


def nll_up_to_constant(deviation: Array, var: Array) -> Array:
    """Gaussian negative log density up to log(2 pi) / 2.

    It is (deviation^2 / var + log var) / 2, element by element.

    Args:
        deviation: target minus mean.
        var: variance (not a std), of the shape of `deviation`.

    >>> nll_up_to_constant(jnp.array([2.0]), jnp.array([1.0]))
    Array([2.], dtype=float32)
    """
    return 0.5 * (jnp.square(deviation) / var + jnp.log(var))
