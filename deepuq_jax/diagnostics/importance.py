"""Importance weights of the exact posterior against q, and the Pareto k-hat of their tail.

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
from deepuq_jax.model.draw import draw
from deepuq_jax.model.posteriors import with_kl_rule
from deepuq_jax.model.structure import refuse_tied
from deepuq_jax.noise import draw_key
from deepuq_jax.objectives.kl import kl_divergence
from deepuq_jax.objectives.targets import check_targets, resolve_likelihood
from deepuq_jax.posterior import AtDraw

# Examples at a time: sums of so many in float32 keep their hundredths of a nat; the rest is added in float64.
_BATCH = 1024
# Draws at a time: as good as a plain loop for large networks, and several times as fast for small ones.
_DRAWS = 10
# Weights within a thousandth of each other have no tail to fit.
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
    """Log importance weights of the posterior against q, up to the evidence; their mean is the ELBO of the data.

    log r_i = log p(y | x, w_i) + log p(w_i) - log q(w_i),  w_i of draw(model, key=fold_in(key, i))

    Where q is the posterior they are all log p(y | x). What is not Bayesian in the model (BatchNorm statistics, plain
    parameters) stays as it is; put dropout and BatchNorm into evaluation mode first.

    Args:
        model: a Bayesian model of mean-field posteriors.
        x, y: the whole of the training data, arrays with a leading axis.
        key: one key of `jax.random.key`.
        n_samples: number of draws.
        log_likelihood: (outputs, y) -> [batch], nats. Default: the model's `likelihood`, else `Categorical()`.
        batch_size: examples taken at a time.
    Returns:
        [n_samples], nats, in float64.
    Raises:
        ValueError, TypeError: bad counts, data or shapes; a model whose `kl` does not look at the key.

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
    batch_size = _BATCH if batch_size is None else check_count("batch_size", batch_size)
    at_draws = with_kl_rule(model, AtDraw())
    ratios = np.asarray(_log_q_over_p(at_draws, key, n_samples=n_samples), np.float64)
    if n_samples > 1 and np.ptp(ratios) == 0:
        what = "to look at the key, as that of the MeanField in the model does, or of a dataclasses.replace of it"
        raise ValueError(expected("model.kl(key)", what, "one number"))
    total = -ratios
    for start in range(0, size, batch_size):
        rows = slice(start, start + batch_size)
        batch = jax.tree.map(itemgetter(rows), (x, y))
        sums = _log_likelihood_of_draws(model, *batch, key, likelihood=likelihood, n_samples=n_samples)
        total += np.asarray(sums, np.float64)
    return total


@partial(jax.jit, static_argnames="n_samples")
def _log_q_over_p(model: Any, key: Array, *, n_samples: int) -> Array:
    """log q(w) - log p(w), [n_samples]."""

    def of_draw(i: Any) -> Array:
        return kl_divergence(model, key=draw_key(key, i))

    return jax.lax.map(of_draw, jnp.arange(n_samples), batch_size=_DRAWS)


@partial(jax.jit, static_argnames=("likelihood", "n_samples"))
def _log_likelihood_of_draws(
    model: Any, x: Any, y: Any, key: Array, *, likelihood: Likelihood, n_samples: int
) -> Array:
    """log p(y | x, w) summed over the examples, [n_samples]."""

    def of_draw(i: Any) -> Array:
        return per_example(likelihood, draw(model, key=draw_key(key, i))(x), y).sum()

    return jax.lax.map(of_draw, jnp.arange(n_samples), batch_size=_DRAWS)


def pareto_khat(log_weights: Any) -> float:
    """Shape of the generalised Pareto distribution fitted to the largest importance weights, by arviz-stats.

    Below 0.5 the weights have a finite variance; above about 0.7 (`khat_threshold`) importance sampling from q does
    not reach the target, whatever the number of draws.

    Args:
        log_weights: [draws], nats, up to a constant.
    Returns:
        k-hat; -inf where the weights are equal to within a thousandth: no tail at all.
    Raises:
        ValueError: fewer than 25 draws, NaN or +infinity among them. ImportError: no arviz-stats.
    Source: Vehtari et al. 2024, arXiv 1507.02646.

    >>> gaussian = np.random.default_rng(0).normal(size=2000)
    >>> pareto_khat(0.1 * gaussian) < 0.3 < 1 < pareto_khat(10 * gaussian)
    True
    """
    psislw = _psislw()
    values = np.asarray(log_weights, np.float64)
    if values.ndim != 1 or values.size < 25:
        raise ValueError(f"Expected log_weights to have shape [draws], 25 or more; got {list(values.shape)}.")
    if np.isnan(values).any() or values.max() in (np.inf, -np.inf):
        raise ValueError("Expected log_weights to be below infinity, one of them finite; got another.")
    # A weight of exactly 0 is far from the tail that is fitted.
    values = np.maximum(values, values[np.isfinite(values)].min())
    if np.ptp(values) < _NO_SPREAD:
        return -np.inf
    with np.errstate(all="ignore"):
        # arviz-stats takes logs of the reciprocal weights, as leave-one-out has them.
        return float(psislw(-values, r_eff=1.0)[1])


def _psislw() -> Callable[..., Any]:
    try:
        from arviz_stats.base.array import array_stats
    except ImportError as error:
        raise ImportError("The k-hat needs arviz-stats: pip install 'deepuq-jax[diagnostics]'.") from error
    return array_stats.psislw


def khat_threshold(n_samples: int) -> float:
    """Above it the estimates of so many draws are not to be trusted: min(1 - 1 / log10(S), 0.7).

    >>> round(khat_threshold(1000), 2), khat_threshold(10_000)
    (0.67, 0.7)
    """
    return min(1 - 1 / float(np.log10(n_samples)), 0.7)
