"""The log predictive density of targets."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import check_batch, check_count
from deepuq_jax._inputs import as_arrays
from deepuq_jax._layout import filled
from deepuq_jax.likelihoods.base import Likelihood, per_example
from deepuq_jax.model.modes import in_evaluation_mode
from deepuq_jax.model.own import check_model
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
) -> Array:
    """Compute the log predictive density of the targets.

    log(mean_s p(y | x, w_s)) over S draws, by a streaming log-sum-exp

    It is the test log-likelihood per example. The model runs in evaluation mode.

    Args:
        model, x, key, n_samples, batch_size, draws_at_once, noise: as in `predict_vi_uq`.
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
    check_model(model)
    x, y = as_arrays("x", x), as_arrays("y", y)
    n_samples = check_count("n_samples", n_samples)
    source = noise_source(key, noise, n_samples)
    check_batch_size(batch_size, noise)
    check_batch(x, y, finite=False)
    leaves, treedef = flatten_untied(model)
    likelihood = resolve_likelihood(model, log_likelihood)
    check_targets(model, x, y, partial(per_example, likelihood))
    at_once = resolve_draws_at_once(draws_at_once, n_samples)
    return _log_density(
        leaves,
        x,
        y,
        source,
        treedef=treedef,
        likelihood=likelihood,
        n_samples=n_samples,
        batch_size=batch_size,
        draws_at_once=at_once,
    )


@partial(jax.jit, static_argnames=("treedef", "likelihood", "n_samples", "batch_size", "draws_at_once"))
def _log_density(
    leaves: list[Any],
    x: Any,
    y: Any,
    source: NoiseSource,
    *,
    treedef: Any,
    likelihood: Likelihood,
    n_samples: int,
    batch_size: int | None,
    draws_at_once: int,
) -> Array:
    model = in_evaluation_mode(jax.tree.unflatten(treedef, leaves))

    def of_batch(batch: Any) -> Array:
        x, y = batch
        outputs_of = outputs_of_draws(model, x, source)

        def density(i: Any) -> Array:
            return per_example(likelihood, outputs_of(i), y)

        def take(total: Array, i: Any, part: Array) -> Array:
            del i
            return jnp.logaddexp(total, part)

        like = jax.eval_shape(density, 0)
        total = over_draws(take, filled(like, -jnp.inf), density, n_samples=n_samples, at_once=draws_at_once)
        return total - jnp.log(jnp.asarray(n_samples, like.dtype))

    return in_batches(of_batch, (x, y), batch_size)
