"""The log predictive density of targets."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import check_batch, check_count
from deepuq_jax._inputs import as_arrays
from deepuq_jax._layout import filled
from deepuq_jax.likelihoods.base import Likelihood, per_example
from deepuq_jax.model.modes import in_evaluation_mode
from deepuq_jax.model.own import check_model
from deepuq_jax.model.precision import checked_compute_dtype, in_compute_dtype
from deepuq_jax.model.structure import flatten_untied
from deepuq_jax.noise import NoiseSource, noise_source
from deepuq_jax.objectives.targets import check_targets, resolve_likelihood
from deepuq_jax.prediction.draws import (
    DEFAULT_DRAWS,
    check_batch_size,
    in_batches,
    outputs_of_draws,
    over_draws,
    resolve_draws_at_once,
)


def log_predictive_density(
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
) -> Array:
    """Compute the log predictive density of the targets.

    log(mean_s p(y | x, w_s)) over S draws, by a streaming log-sum-exp

    It is the test log-likelihood per example. The model runs in evaluation mode.

    Args:
        model, x, key, n_samples, batch_size, draws_at_once, noise, compute_dtype: as in `predict_vi_uq`.
        y: targets [batch, ...].
        log_likelihood: a likelihood or a function (outputs, y) -> [batch], in nats. The default is the model's
            `likelihood`.
    Returns:
        log density in nats, [batch].

    >>> import deepuq_jax as dq
    >>> from flax import nnx
    >>> model = dq.BayesByBackpropMLP(2, (8,), 3, likelihood=dq.Categorical(), rngs=nnx.Rngs(0))
    >>> x, y = jnp.ones((4, 2)), jnp.zeros(4, int)
    >>> log_predictive_density(model, x, y, key=jax.random.key(0), n_samples=10).shape
    (4,)
    """
    return folded_densities(
        _AVERAGE,
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


class Fold(NamedTuple):
    """A way to combine the log densities of the draws.

    The functions are static, so define them once.

    Attributes:
        start: maps the type of a draw's densities, [batch], and the number of draws to the first carry.
        take: maps the carry, the number of a draw and its densities to the next carry.
        end: maps the last carry of all batches and the number of draws to the result.
    """

    start: Callable[[Any, int], Array]
    take: Callable[[Array, Any, Array], Array]
    end: Callable[[Array, int], Any]


def _nothing(like: Any, n_samples: int) -> Array:
    del n_samples
    return filled(like, -jnp.inf)


def _add(total: Array, i: Any, part: Array) -> Array:
    del i
    return jnp.logaddexp(total, part)


def _log_mean(total: Array, n_samples: int) -> Array:
    return total - jnp.log(jnp.asarray(n_samples, total.dtype))


_AVERAGE = Fold(_nothing, _add, _log_mean)


def folded_densities(
    fold: Fold,
    model: Any,
    x: Any,
    y: Any,
    *,
    key: Array | None,
    n_samples: int,
    log_likelihood: Any,
    batch_size: int | None,
    draws_at_once: int | None,
    noise: Any,
    compute_dtype: Any,
) -> Any:
    """Check the arguments of `log_predictive_density`, and fold the log densities of the draws in one program."""
    check_model(model)
    x, y = as_arrays("x", x), as_arrays("y", y)
    n_samples = check_count("n_samples", n_samples)
    source = noise_source(key, noise, n_samples)
    check_batch_size(batch_size, noise)
    check_batch(x, y, finite=False)
    leaves, treedef = flatten_untied(model)
    likelihood = resolve_likelihood(model, log_likelihood)
    check_targets(model, x, y, partial(per_example, likelihood))
    return _folded(
        leaves,
        x,
        y,
        source,
        fold=fold,
        treedef=treedef,
        likelihood=likelihood,
        n_samples=n_samples,
        batch_size=batch_size,
        draws_at_once=resolve_draws_at_once(draws_at_once, n_samples),
        compute_dtype=checked_compute_dtype(compute_dtype),
    )


@partial(
    jax.jit,
    static_argnames=("fold", "treedef", "likelihood", "n_samples", "batch_size", "draws_at_once", "compute_dtype"),
)
def _folded(
    leaves: list[Any],
    x: Any,
    y: Any,
    source: NoiseSource,
    *,
    fold: Fold,
    treedef: Any,
    likelihood: Likelihood,
    n_samples: int,
    batch_size: int | None,
    draws_at_once: int,
    compute_dtype: Any,
) -> Any:
    model = in_compute_dtype(in_evaluation_mode(jax.tree.unflatten(treedef, leaves)), compute_dtype)

    def of_batch(batch: Any) -> Array:
        x, y = batch
        outputs_of = outputs_of_draws(model, x, source)

        def density(i: Any) -> Array:
            return per_example(likelihood, outputs_of(i), y)

        start = fold.start(jax.eval_shape(density, 0), n_samples)
        return over_draws(fold.take, start, density, n_samples=n_samples, at_once=draws_at_once)

    return fold.end(in_batches(of_batch, (x, y), batch_size), n_samples)
