"""The log predictive density with its Monte Carlo error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import check_count, check_positive, expected
from deepuq_jax._layout import filled
from deepuq_jax._pytree import register
from deepuq_jax.functional.gaussian import at_least_float32
from deepuq_jax.prediction.density import Fold, folded_densities
from deepuq_jax.prediction.draws import DEFAULT_DRAWS


@register(static=("n_samples",))
@dataclass(frozen=True)
class DensityEstimate:
    """A log predictive density and its Monte Carlo error, in nats.

    The errors come from the finite number of draws alone. They say nothing about the finite number of examples, or
    about whether the model is right.

    Attributes:
        log_density: log predictive density per example, [batch].
        error: its standard error, [batch].
        mean: mean of `log_density` over the examples, a scalar.
        mean_error: standard error of `mean`. All examples share the draws, so their errors are correlated.
        bias: estimate of the bias of `mean`, a scalar, at most 0: the logarithm of a noisy mean is too low on average.
        n_samples: number of draws.
    """

    log_density: Array
    error: Array
    mean: Array
    mean_error: Array
    bias: Array
    n_samples: int

    def draws_needed(self, error: Any = 0.01) -> Array:
        """Estimate how many draws bring the error of the mean down.

        Small standard errors fall as 1 / sqrt(S) and small biases as 1 / S; the estimate makes both at most `error`.

        Args:
            error: the largest acceptable error of the mean over the examples, in nats.
        Returns:
            A whole number as a float; infinity if fewer than two draws give some example a positive density.

        >>> estimate = DensityEstimate(jnp.zeros(1), jnp.zeros(1), jnp.zeros(()), jnp.float32(0.02), jnp.zeros(()), 50)
        >>> int(estimate.draws_needed(0.01))
        200
        """
        check_positive("error", error)
        by_error = self.n_samples * jnp.square(self.mean_error / error)
        by_bias = self.n_samples * -self.bias / error
        # A ratio of 200.00001 is 200 within rounding.
        return jnp.ceil(jnp.maximum(jnp.maximum(by_error, by_bias) * (1 - 1e-5), 1.0))


def log_density_with_error(
    model: Any,
    x: Any,
    y: Any,
    *,
    key: Array | None = None,
    n_samples: int = DEFAULT_DRAWS,
    log_likelihood: Any = None,
    batch_size: int | None = None,
    draws_at_once: int | None = None,
    noise: Any = None,
    compute_dtype: Any = None,
) -> DensityEstimate:
    """Compute the log predictive density and its Monte Carlo error.

    The errors are those of the jackknife: with c_sn the change of log mean_s p(y_n | x_n, w_s) without draw s,

    error_n = sqrt((S - 1) / S sum_s (c_sn - mean_s c_sn)^2),  bias = (S - 1) mean_ns c_sn

    and mean_error is the error of mean_n c_sn. For small errors this is the delta method, error_n = std_s(p_sn) /
    (mean_s(p_sn) sqrt(S)) and bias = -mean_n error_n^2 / 2. If a single draw gives a target most of its density, the
    delta method gives an error of 1 nat, and the jackknife gives about the amount by which the log density would fall
    without that draw. No estimate knows of a draw that has not been made.

    The density is that of `log_predictive_density` for the same key. The function keeps a number per example and draw.

    Args:
        model, x, y, key, log_likelihood, batch_size, draws_at_once, noise, compute_dtype: as in
            `log_predictive_density`.
        n_samples: number of independent draws, 2 or more.
    Returns:
        DensityEstimate.
    Raises:
        ValueError, TypeError: as in `log_predictive_density`, or there is a single draw.
    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 11.

    >>> import deepuq_jax as dq
    >>> from flax import nnx
    >>> model = dq.BayesByBackpropMLP(2, (8,), 3, likelihood=dq.Categorical(), rngs=nnx.Rngs(0))
    >>> x, y = jnp.ones((4, 2)), jnp.zeros(4, int)
    >>> estimate = log_density_with_error(model, x, y, key=jax.random.key(0))
    >>> bool(estimate.mean_error < 0.05)
    True
    """
    if check_count("n_samples", n_samples) < 2:
        raise ValueError(expected("n_samples", "to be at least 2 for a standard error", f"{n_samples}"))
    log_density, error, mean, mean_error, bias = folded_densities(
        _ERRORS,
        model,
        x,
        y,
        key=key,
        n_samples=n_samples,
        log_likelihood=log_likelihood,
        batch_size=batch_size,
        draws_at_once=draws_at_once,
        noise=noise,
        compute_dtype=compute_dtype,
    )
    return DensityEstimate(log_density, error, mean, mean_error, bias, n_samples)


def _columns(like: Any, n_samples: int) -> Array:
    """Return zeros of [batch, draws], which lie over devices as the examples do."""
    return at_least_float32(jnp.repeat(filled(like)[:, None], n_samples, axis=1))


def _keep(kept: Array, i: Any, part: Array) -> Array:
    return kept.at[:, i].set(part)


def _errors_of(kept: Array, n_samples: int) -> tuple[Array, ...]:
    del n_samples
    return _errors(kept)


_ERRORS = Fold(_columns, _keep, _errors_of)


def _errors(log_densities: Array) -> tuple[Array, ...]:
    """Compute densities and jackknife errors from log densities [batch, draws]."""
    n = log_densities.shape[1]
    log_density = jax.nn.logsumexp(log_densities, axis=1) - jnp.log(jnp.asarray(n, log_densities.dtype))
    changes = _changes(log_densities, log_density)
    of_mean = jnp.mean(changes, axis=0)
    error, mean_error = _jackknife_error(changes), _jackknife_error(of_mean)
    # Without rounding errors, the bias is never positive.
    bias = jnp.minimum((n - 1) * jnp.mean(of_mean), 0.0)
    return log_density, error, jnp.mean(log_density), mean_error, bias


def _changes(log_densities: Array, log_density: Array) -> Array:
    """Compute by how much the log mean changes without each draw, [batch, draws].

    For the largest density, the change is computed from the remaining densities, since its share may round to 1. No
    other draw has more than half of the sum, so the other changes follow from the shares of the draws.
    """
    n = log_densities.shape[1]
    largest = jnp.arange(n)[None] == jnp.argmax(log_densities, axis=1)[:, None]
    deviation = jnp.expm1(log_densities - log_density[:, None])
    of_others = jnp.log1p(-jnp.where(largest, 0.0, deviation) / (n - 1))
    rest = jax.nn.logsumexp(jnp.where(largest, -jnp.inf, log_densities), axis=1)
    of_largest = rest - jnp.log(jnp.asarray(n - 1, log_densities.dtype)) - log_density
    changes = jnp.where(largest, of_largest[:, None], of_others)
    # If no draw gives a positive density, the difference of two infinities is NaN.
    return jnp.where(jnp.isneginf(log_density)[:, None], -jnp.inf, changes)


def _jackknife_error(changes: Array) -> Array:
    """Compute sqrt((S - 1) / S * sum of squared deviations) over the last axis; infinity for an infinite change."""
    n = changes.shape[-1]
    deviation = changes - jnp.mean(changes, axis=-1, keepdims=True)
    error = jnp.sqrt((n - 1) * jnp.mean(jnp.square(deviation), axis=-1))
    return jnp.where(jnp.isneginf(jnp.min(changes, axis=-1)), jnp.inf, error)
