"""Variational objectives: the KL of a model, the exact per-example ELBO, and the documented formula.

Source: Blundell et al. 2015, arXiv 1505.05424, equations 1, 2 and 8.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import Tracer

from deepuq_jax._checks import (
    check_batch,
    check_count,
    check_finite_number,
    check_num_data,
    expected,
    is_concrete,
)
from deepuq_jax._noise import draw_key
from deepuq_jax._sources import noise_source, source_of_draw
from deepuq_jax.functional.likelihood import Categorical, predicts_noise
from deepuq_jax.model import bayesian_nodes, call_with_state, split_params, with_scales
from deepuq_jax.posterior import KeyRequiredError, with_kl_by
from deepuq_jax.types import ELBOTerms


def kl_divergence(model: Any, *, key: Array | None = None, noise: Any = None) -> Array:
    """KL(q || p) of a model: its own `kl()`, or the sum over its topmost Bayesian nodes.

    A node reached by two paths counts once here and under `nnx.jit`; `jax.jit` and `jax.grad` turn tied modules into
    copies, so tie through `bayesianize`, which keeps one posterior. `fit` and `init` refuse what is tied.

    Args:
        model: any pytree with Bayesian layers in it.
        key: where a prior has no closed form: the estimate is at the weights that `model(x, key=key)` draws, and
            without a `kl` of the model's own at an independent draw a node.
        noise: instead of the key, for a model with a `kl` of its own.
    Returns:
        A scalar, nats.
    Raises:
        ValueError: no Bayesian node, or no closed form and no key.

    >>> from flax import nnx
    >>> from deepuq_jax import BayesByBackpropMLP
    >>> float(kl_divergence(BayesByBackpropMLP(2, (4,), 1, rngs=nnx.Rngs(0)))) > 0
    True
    """
    if hasattr(model, "kl"):
        return model.kl(key) if noise is None else model.kl(noise=noise)
    nodes = bayesian_nodes(model)
    if not nodes:
        raise ValueError(expected("model", "to have a Bayesian layer, with kl()", type(model).__name__))
    parts = [node.kl(None if key is None else draw_key(key, i)) for i, (_, node) in enumerate(nodes)]
    return jnp.sum(jnp.stack(parts))


def negative_elbo(
    model: Any,
    x: Any,
    y: Any,
    *,
    key: Array | None = None,
    num_data: Any,
    log_likelihood: Callable | None = None,
    kl_weight: Any = 1.0,
    mc_samples: int = 1,
    sticking_the_landing: bool = False,
    antithetic: bool = False,
    noise: Any = None,
) -> tuple[Array, ELBOTerms]:
    """The negative evidence lower bound per example, exactly.

    loss = mean over the batch of E_q[-log p(y|x,w)] + kl_weight * KL(q || p) / num_data

    Averaged over the batches of an epoch, each weighted by its size, this is -ELBO / num_data of the whole data set,
    whatever the batch size. The expectation is over `mc_samples` draws; draw i uses fold_in(key, i).

    Args:
        model: a Bayesian model.
        x, y: a batch, arrays with a leading axis [batch, ...].
        key: one key of `jax.random.key`.
        num_data: number of examples N in the whole data set (not in the batch); may be traced.
        log_likelihood: any callable (outputs, y) -> [batch], nats per example. Default: the model's `likelihood`,
            else `Categorical()`.
        kl_weight: 1 is the ELBO; less is a warm-up or a cold posterior (`deepuq_jax.schedules`). May be traced.
        mc_samples: number of draws.
        sticking_the_landing: estimate the KL at the draw of the likelihood, closed form or not, with the gradient of
            the draw's path alone. Its mean is the same, and its variance vanishes as q nears the posterior, under
            weight sampling: another estimator does not share its weights with the KL (Roeder, Wu & Duvenaud 2017,
            arXiv 1703.09194). The loss is then an estimate too.
        antithetic: draw in pairs of opposite noise, for an even `mc_samples`: what is linear in the noise cancels in
            each pair. Of every estimator; not for a model with dropout.
        noise: instead of `key`, a stack of noises: what `model.draw_noise` returns with a leading axis of draws.
    Returns:
        (loss, ELBOTerms): nll in nats per example, kl the whole KL in nats, state what the model carried out.
    Raises:
        ValueError, TypeError: bad counts, shapes, labels; NaN or infinity in concrete data; sticking_the_landing with a
            model whose `kl` is not taken of a `MeanField` in it.

    >>> import deepuq_jax as dq
    >>> from flax import nnx
    >>> model = dq.BayesByBackpropMLP(2, (4,), 3, rngs=nnx.Rngs(0))
    >>> x, y = jnp.ones((8, 2)), jnp.zeros(8, int)
    >>> loss, terms = negative_elbo(model, x, y, key=jax.random.key(0), num_data=100)
    >>> bool(jnp.isclose(loss, terms.nll + terms.kl / 100))
    True
    """
    check_batch(x, y)
    check_num_data(num_data)
    criterion = _mean_nll(resolve_likelihood(model, log_likelihood))
    if sticking_the_landing:
        model = _along_the_path(model)
    nll, kl, state = _expected_terms(model, x, y, criterion, key, noise, mc_samples, kl_weight, antithetic)
    loss = nll + kl_weight * kl / num_data
    return loss, ELBOTerms(nll=nll, kl=kl, state=state, loss=loss)


def vi_elbo_step(
    model: Any,
    x: Any,
    y: Any,
    num_batches: Any = None,
    n_batches: Any = None,
    criterion: Callable | None = None,
    kl_weight: Any = 1.0,
    mc_samples: int = 1,
    *,
    key: Array | None = None,
    antithetic: bool = False,
    noise: Any = None,
) -> tuple[Array, ELBOTerms]:
    """The documented objective, kept for parity; `negative_elbo` is the one whose units cannot be got wrong.

    loss = nll + kl_weight * KL / num_batches

    With a mean-reduced `criterion` this weights the KL by the batch size B too much: the exact per-example ELBO has
    KL / num_data = KL / (B * num_batches), which is `kl_weight = 1/B` here, or `negative_elbo`.

    Args:
        model, x, y, mc_samples, antithetic, key, noise: as in `negative_elbo`.
        num_batches: optimizer steps an epoch, N / B; an int, or traced.
        n_batches: deprecated alias of `num_batches`.
        criterion: (outputs, y) -> scalar, averaged over the batch. Default: mean cross-entropy, mean squared error for
            a regressor that does not name its noise, and the mean negative log-likelihood, in nats, for any other
            `likelihood` that the model names, `Gaussian(sigma)` among them. A heteroscedastic model's own,
            1/2 ((y - m)^2 / v + log v), comes before this argument, as documented.
        kl_weight: factor of the scaled KL; may be traced.
    Returns:
        (loss, ELBOTerms); its kl is KL / num_batches, as documented.
    Raises:
        ValueError: no batch count, two that differ, or a count that is not a positive int.

    >>> import deepuq_jax as dq
    >>> from flax import nnx
    >>> model = dq.BayesByBackpropMLP(2, (), 3, rngs=nnx.Rngs(0))
    >>> x, y = jnp.ones((8, 2)), jnp.zeros(8, int)
    >>> loss, terms = vi_elbo_step(model, x, y, num_batches=4, key=jax.random.key(0))
    >>> bool(jnp.isclose(terms.kl, model.kl() / 4))
    True
    """
    num_batches = _resolve_num_batches(num_batches, n_batches)
    check_batch(x, y)
    criterion = _step_criterion(model, criterion)
    nll, kl, state = _expected_terms(model, x, y, criterion, key, noise, mc_samples, kl_weight, antithetic)
    kl = kl / num_batches
    loss = nll + kl_weight * kl
    return loss, ELBOTerms(nll=nll, kl=kl, state=state, loss=loss)


def resolve_likelihood(model: Any, log_likelihood: Callable | None) -> Callable:
    """The likelihood that was passed, else the model's own, else `Categorical()`."""
    if log_likelihood is None:
        log_likelihood = getattr(model, "likelihood", None) or Categorical()
    if not callable(log_likelihood):
        raise TypeError(expected("log_likelihood", "to be a callable (outputs, y) -> [batch]", log_likelihood))
    return log_likelihood


def _along_the_path(model: Any) -> Any:
    """The model with every KL at a draw, and no gradient through the density of q there (its mean is 0)."""
    model = with_kl_by(model, "path")
    try:
        kl_divergence(model)
    except KeyRequiredError:
        return model
    what = "to take its kl of a MeanField that it holds, for sticking_the_landing"
    raise ValueError(expected("model", what, type(model).__name__))


def _mean_nll(log_likelihood: Callable) -> Callable:
    return lambda outputs, y: -jnp.mean(per_example(log_likelihood, outputs, y))


def _step_criterion(model: Any, criterion: Callable | None) -> Callable:
    """What `vi_elbo_step` scores by: learned noise first, as documented, then the caller's, then the likelihood's."""
    if criterion is not None and not callable(criterion):
        raise TypeError(expected("criterion", "to be a callable (outputs, y) -> scalar", criterion))
    likelihood = resolve_likelihood(model, None)
    own = getattr(likelihood, "criterion", None)
    if own is not None and (criterion is None or predicts_noise(likelihood)):
        return own
    return _mean_nll(likelihood) if criterion is None else criterion


def per_example(log_likelihood: Callable, outputs: Array, y: Any) -> Array:
    """log p(y|x,w) as [batch] in nats; any other shape is refused, since its mean would have other units."""
    values = log_likelihood(outputs, y)
    batch = outputs.shape[:1] if hasattr(outputs, "shape") else jax.tree.leaves(outputs)[0].shape[:1]
    if jnp.shape(values) != batch:
        raise ValueError(expected("log_likelihood", f"to return shape {list(batch)}, nats per example", values))
    return values


def check_targets(model: Any, x: Any, y: Any, log_likelihood: Callable) -> None:
    """Hold targets against outputs without computing anything: shapes, and on concrete labels their range.

    Worth a call of its own outside of jit, since inside every label is a tracer.
    """
    if any(is_concrete(leaf) for leaf in jax.tree.leaves(y)):
        # With a key, as in training: dropout may need one.
        jax.eval_shape(lambda: per_example(log_likelihood, call_with_state(model, x, key=jax.random.key(0))[0], y))


def _resolve_num_batches(num_batches: Any, n_batches: Any) -> Any:
    if num_batches is None and n_batches is None:
        raise ValueError("Expected num_batches to be a positive int; got None.")
    counts = [count for count in (num_batches, n_batches) if count is not None]
    for name, count in (("num_batches", num_batches), ("n_batches", n_batches)):
        if count is not None and not isinstance(count, Tracer):
            check_count(name, count)
    if num_batches is None:
        warnings.warn("n_batches is deprecated: use num_batches.", DeprecationWarning, stacklevel=3)
    elif len(counts) == 2 and num_batches is not n_batches and num_batches != n_batches:
        raise ValueError(f"Expected num_batches and n_batches to be equal; got {num_batches} and {n_batches}.")
    return counts[0]


# Draws that follow each other outside of a loop. Four at once, on a CPU: a step of 8-50-1 takes 0.78 and one of
# 784-400-400-10 takes 0.86 of the time that it takes with them in a loop, that of two convolutions 0.15 (XLA:CPU has no
# fast gradient of a convolution in a loop: github.com/jax-ml/jax/issues/12868), and none compiles longer.
_UNROLLED = 4


def _expected_terms(model, x, y, criterion, key, noise, mc_samples, kl_weight, antithetic) -> tuple[Array, Array, Any]:
    """E[criterion] over the draws, the KL, and the carried state after the last draw."""
    mc_samples = check_count("mc_samples", mc_samples)
    check_finite_number("kl_weight", kl_weight)
    draws = noise_source(key, noise, mc_samples, antithetic=antithetic)
    model = with_scales(model)
    try:  # The closed form needs no draw, so it is computed once.
        kl = kl_divergence(model)
    except KeyRequiredError:
        kl = None
    params, carried, merge = split_params(model)

    def one_draw(i):
        # Inside a scan the model must be of that trace, or writing to its Variables is refused.
        fresh = merge(params, carried)
        source = source_of_draw(draws, i, fresh, x)
        outputs, state = call_with_state(fresh, x, **source)
        estimate = kl_divergence(fresh, **source) if kl is None else kl
        return criterion(outputs, y), estimate, state

    if mc_samples == 1:
        nll, estimate, state = one_draw(0)
    else:
        step = lambda _, i: (None, one_draw(i))
        _, (nll, estimate, state) = jax.lax.scan(step, None, jnp.arange(mc_samples), unroll=min(mc_samples, _UNROLLED))
        nll, state = jnp.mean(nll), jax.tree.map(lambda leaf: leaf[-1], state)
    return nll, jnp.mean(estimate) if kl is None else kl, state
