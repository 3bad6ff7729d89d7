"""The findings of `diagnose`, as table and sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from deepuq_jax.prediction.draws import DEFAULT_DRAWS

# An incomplete last batch alone changes N / (B num_batches) by less than this.
TEMPERATURE_SLACK = 0.1
# A layer with more than this share of its weights at the prior does little more than add noise.
PRUNED_SHARE = 0.9
# If the 95 % quantile of |mu| / sigma is below NO_SIGNAL, hardly any weight is known to differ from 0. If the 5 %
# quantile is above NO_NOISE, q is nearly a point.
NO_SIGNAL, NO_NOISE = 1.0, 100.0
# Relative tolerance between a model's KL and the sum over its weights; sums in float32 agree far better.
KL_SLACK = 0.01
# An error of the mean log predictive density that hides differences between models, in nats.
LARGE_ERROR = 0.02
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class LayerHealth(NamedTuple):
    """Measures of how much a layer has learned.

    Attributes:
        path: dotted path of the layer in the model.
        num_weights: number of weights, biases included.
        kl: KL(q || p) in nats, summed over the weights.
        share_at_prior: share of the weights whose own KL is below 0.1 nats.
        signal_to_noise: 5, 25, 50, 75 and 95 % quantiles of |mu| / sigma over the weights.
    """

    path: str
    num_weights: int
    kl: float
    share_at_prior: float
    signal_to_noise: tuple[float, ...]


@dataclass(frozen=True)
class FitHealth:
    """The health of a fit, from `diagnose`.

    `print` it to see a table and the findings in words.

    Attributes:
        khat: Pareto k-hat of the importance weights of the posterior against q; -inf if the weights are nearly equal.
        khat_threshold: a larger k-hat means that q is far from the posterior.
        elbo: evidence lower bound of the whole data set in nats, estimated from the same draws.
        kl: KL(q || p) of the model in nats: `model.kl()` if it has a closed form, else the sum over the layers.
        temperature: ratio of the KL's weight in the objective to its weight in the exact ELBO.
        layers: a `LayerHealth` per layer.
        share_at_prior, signal_to_noise: as in `LayerHealth`, over all weights.
        num_data: number of examples.
        n_samples: number of draws.
        prediction_error: standard error that the default number of draws leaves in the mean log predictive density of
            the data, in nats per example.
        prediction_bias: bias of that mean, at most 0, in nats per example.
        draws_needed: number of draws for which error and bias are at most 0.01.
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
    prediction_error: float
    prediction_bias: float
    draws_needed: float

    @property
    def findings(self) -> tuple[str, ...]:
        """A description per problem; empty if there is no problem."""
        return findings_of(self)

    def __str__(self) -> str:
        width = max(len("all layers"), *(len(layer.path) for layer in self.layers))

        def row(path: str, size: int, kl: float, share: float, ratios: tuple[float, ...]) -> str:
            quantiles = "  ".join(f"{ratio:8.2f}" for ratio in ratios)
            return f"{path:{width}}  {size:>10,}  {kl:>12,.1f}  {share:>12.1%}  {quantiles}"

        every = sum(layer.num_weights for layer in self.layers)
        heads = "  ".join(f"{f'{100 * q:g} %':>8}" for q in QUANTILES)
        lines = [
            f"{self.num_data:,} examples, {self.n_samples:,} draws",
            f"ELBO {self.elbo:,.1f} nats, {self.elbo / self.num_data:.3f} per example",
            f"k-hat {self.khat:.2f} (should be below {self.khat_threshold:.2f})",
            f"temperature {self.temperature:.3g} (1 for the exact ELBO)",
            f"error of {DEFAULT_DRAWS} draws in the log density: {self.prediction_error:.1g} nats, "
            f"bias {self.prediction_bias:.1g}",
            f"{'':{width}}  {'weights':>10}  {'KL, nats':>12}  {'at the prior':>12}  {heads} of |mu| / sigma",
            *(row(*layer) for layer in self.layers),
            row("all layers", every, self.kl, self.share_at_prior, self.signal_to_noise),
        ]
        return "\n".join(lines + ([f"- {finding}" for finding in self.findings] or ["No problems were found."]))


def findings_of(health: FitHealth) -> tuple[str, ...]:
    """Describe a fit's problems, causes before effects.

    Args:
        health: a `FitHealth`.
    Returns:
        A description per problem; empty if there is no problem.
    """
    causes = (*_kl(health), *_temperature(health), *_pruned(health), *_signal(health))
    return (*causes, *_khat(health), *_draws(health))


def _kl(health: FitHealth) -> list[str]:
    total = sum(layer.kl for layer in health.layers)
    if abs(total - health.kl) <= KL_SLACK * max(1.0, abs(health.kl)):
        return []
    return [
        f"The KL of the layers adds up to {total:,.1f} nats, but model.kl() returns {health.kl:,.1f} nats. The model "
        f"counts more than its mean-field weights, or counts them differently. Read the figures per layer with care."
    ]


def _temperature(health: FitHealth) -> list[str]:
    t = health.temperature
    if t > 1 + TEMPERATURE_SLACK:
        return [
            f"The KL was weighted {t:,.3g} times as heavily as in the exact ELBO (temperature {t:,.3g}), so the "
            f"posterior is wider and closer to the prior than the data justify. If you trained with vi_elbo_step and a "
            f"mean loss, this factor is the batch size: pass kl_weight = 1 / batch_size, or train with negative_elbo "
            f"or fit instead."
        ]
    if t < 1 - TEMPERATURE_SLACK:
        return [
            f"The KL was weighted only {t:.3g} times as heavily as in the exact ELBO (temperature {t:.3g}, a cold "
            f"posterior), so the posterior is narrower than the data justify."
        ]
    return []


def _pruned(health: FitHealth) -> list[str]:
    return [
        f"Layer {layer.path} is over-pruned: {layer.share_at_prior:.0%} of its weights ({layer.num_weights:,} in all) "
        f"are still at the prior. Either the layer is wider than the data require, or the KL holds it back. To let it "
        f"learn more, lower the KL weight in the first epochs, train longer, or choose another prior scale."
        for layer in health.layers
        if layer.share_at_prior > PRUNED_SHARE
    ]


def _signal(health: FitHealth) -> list[str]:
    low, high = health.signal_to_noise[0], health.signal_to_noise[-1]
    if high < NO_SIGNAL:
        return [
            f"Hardly any weight differs clearly from 0: |mu| / sigma is below {high:.2f} for 95 % of the weights. The "
            f"model has learned almost nothing, or it was not trained."
        ]
    if low > NO_NOISE:
        return [
            f"The posterior is nearly a point: |mu| / sigma is above {low:,.0f} for 95 % of the weights. Either the "
            f"standard deviations are still at their initial values, or the KL has almost no weight. The model's "
            f"uncertainty does not reflect the data."
        ]
    return []


def _khat(health: FitHealth) -> list[str]:
    if not health.khat > health.khat_threshold:
        return []
    return [
        f"The fitted posterior over the weights is far from the exact posterior: k-hat {health.khat:.2f} is above "
        f"{health.khat_threshold:.2f}. Do not read the standard deviation of a single weight as its uncertainty, and "
        f"do not reweight draws by importance. This is the usual case for neural networks, and predictions may still "
        f"be well calibrated: check coverage, ECE or log density on held-out data."
    ]


def _draws(health: FitHealth) -> list[str]:
    error, bias = health.prediction_error, health.prediction_bias
    if max(error, -bias) <= LARGE_ERROR:
        return []
    return [
        f"Predictions need more than {DEFAULT_DRAWS} draws: these leave a Monte Carlo error of {error:.2g} nats and a "
        f"bias of {bias:.2g} nats in the mean log predictive density. Pass n_samples={health.draws_needed:.0f} or more "
        f"to predict_vi_uq and log_predictive_density."
    ]
