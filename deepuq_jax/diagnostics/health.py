"""The health of a fit: how near q is to the posterior, what each layer has learned, and what is off, in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from jax import Array

from deepuq_jax._checks import check_batch, check_count, check_finite_number, check_num_data, check_one_of, expected
from deepuq_jax.diagnostics.findings import findings_of
from deepuq_jax.diagnostics.importance import khat_threshold, log_importance_weights, pareto_khat
from deepuq_jax.diagnostics.weights import WeightTensor, kl_per_weight, weight_tensors
from deepuq_jax.objective import kl_divergence
from deepuq_jax.posterior import KeyRequiredError

# A weight that has learned less than this, in nats, is still at the prior: its mean is within 0.45 prior standard
# deviations of the prior's, its scale within a factor of 1.4. The jitter of Adam alone leaves about 0.04.
PRIOR_KL = 0.1
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# Draws below which the fit of a tail says nothing.
MIN_SAMPLES = 100


class LayerHealth(NamedTuple):
    """What one layer has learned.

    Attributes:
        path: where it is in the model.
        num_weights: in it, biases included.
        kl: KL(q || p), nats, summed over its weights.
        share_at_prior: share of its weights whose own KL is below 0.1 nats.
        signal_to_noise: 5, 25, 50, 75 and 95 % quantiles of |mu| / sigma over its weights.
    """

    path: str
    num_weights: int
    kl: float
    share_at_prior: float
    signal_to_noise: tuple[float, ...]


@dataclass(frozen=True)
class FitHealth:
    """What `diagnose` returns; `print` it for a table and the findings in words.

    Attributes:
        khat: Pareto k-hat of the importance weights of the posterior against q; -inf where they are all equal.
        khat_threshold: above it q is not near the posterior.
        elbo: evidence lower bound of the whole data, nats, over the same draws.
        kl: KL(q || p) of the model, nats: its own `kl()` where that is a closed form, else the layers' sum.
        temperature: weight of the KL in the objective over that of the exact ELBO.
        layers: one `LayerHealth` each.
        share_at_prior, signal_to_noise: as in `LayerHealth`, over every weight.
        num_data: examples. n_samples: draws.
    """

    khat: float
    khat_threshold: float
    elbo: float
    kl: float
    temperature: float
    layers: tuple[LayerHealth, ...]
    share_at_prior: float
    signal_to_noise: tuple[float, ...]
    num_data: int
    n_samples: int

    @property
    def findings(self) -> tuple[str, ...]:
        """A sentence for each thing that is off; empty where nothing is."""
        return findings_of(self)

    def __str__(self) -> str:
        quantiles = lambda values: "  ".join(f"{value:8.2f}" for value in values)
        width = max(len("every layer"), *(len(layer.path) for layer in self.layers))
        row = lambda path, size, kl, share, ratio: (
            f"{path:{width}}  {size:>10,}  {kl:>12,.1f}  {share:>12.1%}  {quantiles(ratio)}"
        )
        every = sum(layer.num_weights for layer in self.layers)
        heads = "  ".join(f"{f'{100 * q:g} %':>8}" for q in QUANTILES)
        lines = [
            f"{self.num_data:,} examples, {self.n_samples:,} draws",
            f"ELBO {self.elbo:,.1f} nats, {self.elbo / self.num_data:.3f} an example",
            f"k-hat {self.khat:.2f}, trusted below {self.khat_threshold:.2f}",
            f"temperature {self.temperature:.3g}, 1 for the exact ELBO",
            f"{'':{width}}  {'weights':>10}  {'KL, nats':>12}  {'at the prior':>12}  {heads} of |mu| / sigma",
            *(row(*layer) for layer in self.layers),
            row("every layer", every, self.kl, self.share_at_prior, self.signal_to_noise),
        ]
        return "\n".join(lines + ([f"- {finding}" for finding in self.findings] or ["Nothing is off."]))


def effective_temperature(
    size: int, *, kl_weight: float = 1.0, num_data: Any = None, num_batches: int | None = None
) -> float:
    """Weight of the KL in an objective, over that of the exact ELBO: 1 is Bayes, less a cold posterior.

    The exact per-example ELBO has KL / size. `negative_elbo` has kl_weight KL / num_data, so T = kl_weight size /
    num_data; `vi_elbo_step` with a criterion averaged over the batch has kl_weight KL / num_batches, so T = kl_weight
    size / num_batches: the batch size, unless kl_weight says otherwise.

    Args:
        size: number of examples trained on.
        kl_weight: as it was at the end of training.
        num_data: as passed to `negative_elbo`; default `size`, as in `fit`.
        num_batches: as passed to `vi_elbo_step`, where that was the objective.
    Raises:
        ValueError: both of the last two, or numbers that cannot be.
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
    log_likelihood: Callable | None = None,
    kl_weight: float = 1.0,
    num_data: Any = None,
    num_batches: int | None = None,
    n_samples: int = 1000,
    batch_size: int | None = None,
) -> FitHealth:
    """How healthy a fit is: distance to the posterior, what each layer has learned, the temperature trained at.

    Args:
        model: as trained; dropout and BatchNorm in evaluation mode.
        x, y: the whole of the training data, arrays with a leading axis.
        key: one key of `jax.random.key`.
        log_likelihood: (outputs, y) -> [batch], nats. Default: the model's `likelihood`, else `Categorical()`.
        kl_weight, num_data, num_batches: what the objective was given, for its temperature: `effective_temperature`.
            Not needed after a plain `fit`.
        n_samples: draws, 100 or more; each is a pass over the data.
        batch_size: examples taken at a time.
    Returns:
        FitHealth; `print` it.
    Raises:
        ValueError, TypeError: bad arguments, no mean-field posterior in the model, one that is not finite.
        ImportError: no arviz-stats (extra `diagnostics`).
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
    size = check_batch(x, y)
    temperature = effective_temperature(size, kl_weight=kl_weight, num_data=num_data, num_batches=num_batches)
    tensors = weight_tensors(model)
    options: dict[str, Any] = dict(n_samples=n_samples, log_likelihood=log_likelihood, batch_size=batch_size)
    log_weights = log_importance_weights(model, x, y, key=key, **options)
    whole = _layer("every layer", tensors)
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
    )


def _own_kl(model: Any, otherwise: float) -> float:
    try:
        return float(kl_divergence(model))
    except KeyRequiredError:
        return otherwise


def _layer(path: str, tensors: list[WeightTensor]) -> LayerHealth:
    flat = lambda parts: np.concatenate([np.asarray(part, np.float64).ravel() for part in parts])
    kl = flat([kl_per_weight(tensor) for tensor in tensors])
    ratio = flat([tensor.signal_to_noise for tensor in tensors])
    quantiles = tuple(float(value) for value in np.quantile(ratio, QUANTILES))
    return LayerHealth(path, kl.size, float(kl.sum()), float((kl < PRIOR_KL).mean()), quantiles)
