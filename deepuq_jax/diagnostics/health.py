"""Diagnose the health of a fit.

`diagnose` measures how near q is to the posterior and how much each layer has learned, and describes the problems in
words.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
from jax import Array

from deepuq_jax._checks import check_batch, check_count, check_finite_number, check_num_data, check_one_of, expected
from deepuq_jax._inputs import as_arrays
from deepuq_jax.diagnostics.findings import QUANTILES, FitHealth, LayerHealth
from deepuq_jax.diagnostics.importance import khat_threshold, log_importance_weights, pareto_khat
from deepuq_jax.diagnostics.weights import WeightTensor, kl_per_weight, weight_tensors
from deepuq_jax.model.own import as_model
from deepuq_jax.prediction.density_error import log_density_with_error
from deepuq_jax.prediction.draws import DEFAULT_DRAWS

# A weight whose KL is below this, in nats, is still at the prior: its mean is within 0.45 prior standard deviations of
# the prior's mean, and its standard deviation within a factor of 1.4. The jitter of Adam alone leaves about 0.04 nats.
PRIOR_KL = 0.1
# Number of draws, and of examples per batch, for the error of a prediction. 200 draws estimate this error to within
# some percent.
_ERROR_DRAWS, _BATCH = 200, 1024
# With fewer draws, the fit of a tail is meaningless.
MIN_SAMPLES = 100


def effective_temperature(
    size: int, *, kl_weight: float = 1.0, num_data: Any = None, num_batches: int | None = None
) -> float:
    """Return the temperature of a training objective.

    The temperature T is the weight of the KL in the objective divided by its weight in the exact ELBO. T = 1 gives the
    Bayesian posterior, T < 1 a cold posterior.

    The exact ELBO per example contains KL / size. `negative_elbo` contains kl_weight KL / num_data, so
    T = kl_weight size / num_data. `vi_elbo_step` with a criterion averaged over the batch contains
    kl_weight KL / num_batches, so T = kl_weight size / num_batches, which for kl_weight = 1 is the batch size.

    Args:
        size: number of training examples.
        kl_weight: the KL weight of the objective at the end of training.
        num_data: the argument of `negative_elbo`; default `size`, as in `fit`.
        num_batches: the argument of `vi_elbo_step`, if this was the objective.
    Raises:
        ValueError: both `num_data` and `num_batches` are given, or a number is invalid.
    Source: Wenzel et al. 2020, arXiv 2002.02405.

    >>> effective_temperature(1000, num_batches=10), effective_temperature(1000, num_batches=10, kl_weight=0.01)
    (100.0, 1.0)
    """
    check_one_of("num_data and num_batches", num_data, num_batches)
    check_finite_number("kl_weight", kl_weight)
    if num_batches is not None:
        return float(kl_weight) * check_count("size", size) / check_count("num_batches", num_batches)
    num_data = size if num_data is None else num_data
    check_num_data(num_data)
    return float(kl_weight) * check_count("size", size) / float(num_data)


def diagnose(
    model: Any,
    x: Any,
    y: Any,
    *,
    key: Array,
    log_likelihood: Any = None,
    kl_weight: float = 1.0,
    num_data: Any = None,
    num_batches: int | None = None,
    n_samples: int = 1000,
    batch_size: int | None = None,
) -> FitHealth:
    """Diagnose the health of a fit.

    The diagnosis measures how far q is from the posterior, how much each layer has learned, the temperature of the
    training objective, and whether the default number of draws suffices for predictions. It runs the model in
    evaluation mode.

    Args:
        model: the trained model, in any mode.
        x, y: the whole training data, arrays with a leading axis of examples.
        key: a single key of `jax.random.key`.
        log_likelihood: (outputs, y) -> [batch], nats. Default: the model's `likelihood`.
        kl_weight, num_data, num_batches: the arguments of the objective, which determine its temperature; see
            `effective_temperature`. They are not needed after a plain `fit`.
        n_samples: number of draws, 100 or more; each draw is a pass over the data.
        batch_size: examples processed at a time.
    Returns:
        FitHealth; `print` it.
    Raises:
        ValueError, TypeError: an argument is invalid, the model has no mean-field posterior, or a posterior is not
            finite.
        ImportError: arviz-stats is not installed (extra `diagnostics`).
    Source: Yao et al. 2018, arXiv 1802.02538 (k-hat of a variational fit); Blundell et al. 2015, arXiv 1505.05424,
        section 5.1 (signal to noise); Trippe & Turner 2018, arXiv 1801.06230 (over-pruning).

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> import deepuq_jax as dq
    >>> x = jnp.linspace(-1, 1, 64)[:, None]
    >>> model = dq.BayesByBackpropMLP(1, (), 1, likelihood=dq.Gaussian(0.5), rngs=nnx.Rngs(0))
    >>> health = diagnose(model, x, x, key=jax.random.key(0), num_batches=4)
    >>> health.temperature, [layer.path for layer in health.layers]
    (16.0, ['layers.0'])
    """
    if check_count("n_samples", n_samples) < MIN_SAMPLES:
        raise ValueError(expected("n_samples", f"to be at least {MIN_SAMPLES}", f"{n_samples}"))
    x, y = as_arrays("x", x), as_arrays("y", y)
    size = check_batch(x, y)
    temperature = effective_temperature(size, kl_weight=kl_weight, num_data=num_data, num_batches=num_batches)
    tensors = weight_tensors(model)
    log_weights = log_importance_weights(
        model, x, y, key=key, n_samples=n_samples, log_likelihood=log_likelihood, batch_size=batch_size
    )
    density = log_density_with_error(
        model,
        x,
        y,
        key=key,
        n_samples=min(n_samples, _ERROR_DRAWS),
        log_likelihood=log_likelihood,
        batch_size=_BATCH if batch_size is None else batch_size,
    )
    share = density.n_samples / DEFAULT_DRAWS
    whole = _layer("all layers", tensors)
    layers = tuple(_layer(path, list(group)) for path, group in groupby(tensors, lambda tensor: tensor.layer))
    return FitHealth(
        khat=pareto_khat(log_weights),
        khat_threshold=khat_threshold(n_samples),
        elbo=float(log_weights.mean()),
        kl=_own_kl(model, whole.kl),
        temperature=temperature,
        layers=layers,
        share_at_prior=whole.share_at_prior,
        signal_to_noise=whole.signal_to_noise,
        num_data=size,
        n_samples=n_samples,
        prediction_error=float(density.mean_error) * share**0.5,
        prediction_bias=float(density.bias) * share,
        draws_needed=float(density.draws_needed()),
    )


def _own_kl(model: Any, otherwise: float) -> float:
    whole = as_model(model)
    return float(whole.kl()) if whole.has_closed_form_kl else otherwise


def _layer(path: str, tensors: list[WeightTensor]) -> LayerHealth:
    def flat(parts: list[Array]) -> np.ndarray:
        return np.concatenate([np.asarray(part, np.float64).ravel() for part in parts])

    kl = flat([kl_per_weight(tensor) for tensor in tensors])
    ratio = flat([tensor.signal_to_noise for tensor in tensors])
    quantiles = tuple(float(value) for value in np.quantile(ratio, QUANTILES))
    return LayerHealth(path, kl.size, float(kl.sum()), float((kl < PRIOR_KL).mean()), quantiles)
