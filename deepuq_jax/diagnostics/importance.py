"""Importance weights and their Pareto k-hat.

The weights compare the exact posterior with q, from which the draws come; k-hat describes their tail.

Source: Yao, Vehtari, Simpson & Gelman 2018, arXiv 1802.02538; Vehtari et al. 2024, arXiv 1507.02646.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from deepuq_jax._checks import check_batch, check_count, check_key, expected
from deepuq_jax.likelihoods.base import Likelihood, per_example
from deepuq_jax.model.independence import refuse_shared_noise
from deepuq_jax.model.modes import in_evaluation_mode
from deepuq_jax.model.own import as_model
from deepuq_jax.model.posteriors import with_kl_rule
from deepuq_jax.model.structure import refuse_tied
from deepuq_jax.noise import draw_key
from deepuq_jax.objectives.kl import kl_divergence
from deepuq_jax.objectives.targets import check_targets, resolve_likelihood
from deepuq_jax.posterior import AtDraw

# Examples per batch. Sums over this many examples in float32 are right to hundredths of a nat; batches are summed in
# float64.
_BATCH = 1024
# Draws per batch: as fast as a plain loop for large networks, and several times as fast for small networks.
_DRAWS = 10
# Weights that differ by less than a thousandth have no tail to fit.
_NO_SPREAD = 1e-3


def log_importance_weights(
    model: Any,
    x: Any,
    y: Any,
    *,
    key: Array,
    n_samples: int = 1000,
    log_likelihood: Any = None,
    batch_size: int | None = None,
) -> np.ndarray:
    """Compute log importance weights of the posterior against q.

    log r_i = log p(y | x, w_i) + log p(w_i) - log q(w_i), with w_i the weights of draw(model, key=fold_in(key, i))

    The weights are not normalized by the evidence p(y | x). The mean of log r_i estimates the ELBO of the data. If q is
    the exact posterior, every log r_i is log p(y | x). The parts of the model that are not Bayesian (BatchNorm
    statistics, plain parameters) stay fixed. The model runs in evaluation mode, whatever mode it is in.

    Args:
        model: a Bayesian model with mean-field posteriors.
        x, y: the whole training data, arrays with a leading axis of examples.
        key: a single key of `jax.random.key`.
        n_samples: number of draws.
        log_likelihood: (outputs, y) -> [batch], nats. Default: the model's `likelihood`.
        batch_size: examples processed at a time.
    Returns:
        Log weights [n_samples] in nats, in float64.
    Raises:
        ValueError, TypeError: a count, the data or a shape is invalid, or the model's `kl` ignores the key.

    >>> import deepuq_jax as dq
    >>> from flax import nnx
    >>> x = jnp.linspace(-1, 1, 16)[:, None]
    >>> model = dq.BayesByBackpropMLP(1, (), 1, likelihood=dq.Gaussian(0.5), rngs=nnx.Rngs(0))
    >>> log_importance_weights(model, x, x, key=jax.random.key(0), n_samples=20).shape
    (20,)
    """
    n_samples = check_count("n_samples", n_samples)
    check_key(key)
    size = check_batch(x, y)
    refuse_tied(model)
    likelihood = resolve_likelihood(model, log_likelihood)
    check_targets(model, x, y, partial(per_example, likelihood))
    refuse_shared_noise(model, x)
    batch_size = _BATCH if batch_size is None else check_count("batch_size", batch_size)
    at_draws = with_kl_rule(model, AtDraw())
    ratios = np.asarray(_log_q_over_p(at_draws, key, n_samples=n_samples), np.float64)
    if n_samples > 1 and np.ptp(ratios) == 0:
        fix = "Return the kl of the model's MeanField, or of a copy of it made by dataclasses.replace."
        raise ValueError(expected("model.kl(key)", "to depend on the key", "the same value for all keys") + f" {fix}")
    total = -ratios
    for start in range(0, size, batch_size):
        rows = slice(start, start + batch_size)
        batch = jax.tree.map(itemgetter(rows), (x, y))
        sums = _log_likelihood_of_draws(model, *batch, key, likelihood=likelihood, n_samples=n_samples)
        total += np.asarray(sums, np.float64)
    return total


@partial(jax.jit, static_argnames="n_samples")
def _log_q_over_p(model: Any, key: Array, *, n_samples: int) -> Array:
    """Compute log q(w) - log p(w) per draw, [n_samples]."""

    def of_draw(i: Any) -> Array:
        return kl_divergence(model, key=draw_key(key, i))

    return jax.lax.map(of_draw, jnp.arange(n_samples), batch_size=_DRAWS)


@partial(jax.jit, static_argnames=("likelihood", "n_samples"))
def _log_likelihood_of_draws(
    model: Any, x: Any, y: Any, key: Array, *, likelihood: Likelihood, n_samples: int
) -> Array:
    """Compute log p(y | x, w), summed over examples, [n_samples]."""

    model = in_evaluation_mode(model)

    def of_draw(i: Any) -> Array:
        return per_example(likelihood, as_model(model).draw_for_kl(key=draw_key(key, i))(x), y).sum()

    return jax.lax.map(of_draw, jnp.arange(n_samples), batch_size=_DRAWS)


def pareto_khat(log_weights: Any) -> float:
    """Fit the Pareto shape of the largest weights.

    k-hat is the shape of a generalised Pareto distribution that arviz-stats fits to the tail of the importance weights.
    Below 0.5 the weights have a finite variance. Above about 0.7 (`khat_threshold`), importance sampling from q needs
    an impracticable number of draws.

    Args:
        log_weights: [draws], nats, up to a constant.
    Returns:
        k-hat; -inf if the weights are equal to within a thousandth and so have no tail.
    Raises:
        ValueError: there are fewer than 25 draws, or a log weight is NaN or +infinity, or none is finite.
        ImportError: arviz-stats is not installed.
    Source: Vehtari et al. 2024, arXiv 1507.02646.

    >>> gaussian = np.random.default_rng(0).normal(size=2000)
    >>> pareto_khat(0.1 * gaussian) < 0.3 < 1 < pareto_khat(10 * gaussian)
    True
    """
    psislw = _psislw()
    values = np.asarray(log_weights, np.float64)
    if values.ndim != 1 or values.size < 25:
        raise ValueError(f"Expected log_weights of shape [draws], with 25 draws or more; got {list(values.shape)}.")
    if np.isnan(values).any() or values.max() in (np.inf, -np.inf):
        got = "NaN, infinity or no finite value"
        raise ValueError(f"Expected log_weights to be below infinity and not all -infinity; got {got}.")
    # Weights of exactly 0 are far from the fitted tail, so they may be replaced by the smallest positive weight.
    values = np.maximum(values, values[np.isfinite(values)].min())
    if np.ptp(values) < _NO_SPREAD:
        return -np.inf
    with np.errstate(all="ignore"):
        # arviz-stats takes logs of the reciprocal weights, as in leave-one-out cross-validation.
        return float(psislw(-values, r_eff=1.0)[1])


def _psislw() -> Callable[..., Any]:
    try:
        from arviz_stats.base.array import array_stats
    except ImportError as error:
        raise ImportError("The k-hat needs arviz-stats: pip install 'deepuq-jax[diagnostics]'.") from error
    return array_stats.psislw


def khat_threshold(n_samples: int) -> float:
    """Return the largest trustworthy k-hat.

    It is min(1 - 1 / log10(S), 0.7). With S = `n_samples` draws, estimates with a larger k-hat should not be trusted.

    >>> round(khat_threshold(1000), 2), khat_threshold(10_000)
    (0.67, 0.7)
    """
    return min(1 - 1 / float(np.log10(n_samples)), 0.7)
