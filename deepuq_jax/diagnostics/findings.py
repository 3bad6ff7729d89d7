"""What `diagnose` found, as a table, and a sentence in plain words for each thing that is off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

# A remainder batch alone moves N / (B num_batches) by less than this.
TEMPERATURE_SLACK = 0.1
# A layer with so large a share of its weights at the prior does hardly more than add noise.
PRUNED_SHARE = 0.9
# The 95 % quantile of |mu| / sigma below the first: no weight is known to be other than 0. The 5 % quantile above the
# second: q is a point.
NO_SIGNAL, NO_NOISE = 1.0, 100.0
# Between a model's KL and the sum over its weights; float32 sums agree far better.
KL_SLACK = 0.01
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


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


def findings_of(health: FitHealth) -> tuple[str, ...]:
    """What is off, the cause before its effects.

    Args:
        health: a `FitHealth`.
    Returns:
        Sentences; none where nothing is off.
    """
    return (*_kl(health), *_temperature(health), *_pruned(health), *_signal(health), *_khat(health))


def _kl(health: FitHealth) -> list[str]:
    total = sum(layer.kl for layer in health.layers)
    if abs(total - health.kl) <= KL_SLACK * max(1.0, abs(health.kl)):
        return []
    return [
        f"The layers' KL adds up to {total:,.1f} nats, but model.kl() is {health.kl:,.1f}: the model counts other "
        f"things than its mean-field weights, or counts them otherwise. Read what is said by layer with care."
    ]


def _temperature(health: FitHealth) -> list[str]:
    t = health.temperature
    if t > 1 + TEMPERATURE_SLACK:
        return [
            f"The KL was weighted {t:,.3g} times what the exact ELBO weighs it (temperature {t:,.3g}): the posterior "
            f"is wider, and nearer to the prior, than the data say. After vi_elbo_step with a mean loss that factor is "
            f"the batch size; pass kl_weight = 1 / batch_size there, or train with negative_elbo or fit."
        ]
    if t < 1 - TEMPERATURE_SLACK:
        return [
            f"The KL was weighted {t:.3g} times what the exact ELBO weighs it (a cold posterior): the posterior is "
            f"narrower than the data say."
        ]
    return []


def _pruned(health: FitHealth) -> list[str]:
    return [
        f"Layer {layer.path} is over-pruned: {layer.share_at_prior:.0%} of its {layer.num_weights:,} weights are still "
        f"at the prior. Either it is wider than the data need, or the KL holds it back: weigh the KL less in the first "
        f"epochs, train longer, or choose another prior scale."
        for layer in health.layers
        if layer.share_at_prior > PRUNED_SHARE
    ]


def _signal(health: FitHealth) -> list[str]:
    low, high = health.signal_to_noise[0], health.signal_to_noise[-1]
    if high < NO_SIGNAL:
        return [
            f"Hardly a weight is known to be other than 0: |mu| / sigma is below {high:.2f} for 95 % of them. The "
            f"model has learned next to nothing, or was not trained."
        ]
    if low > NO_NOISE:
        return [
            f"The posterior is nearly a point: |mu| / sigma is above {low:,.0f} for 95 % of the weights. Its scales "
            f"are as they were set, or the KL weighs nothing; its uncertainty is not that of the data."
        ]
    return []


def _khat(health: FitHealth) -> list[str]:
    if not health.khat > health.khat_threshold:
        return []
    return [
        f"The posterior over the weights is far from the exact one: k-hat {health.khat:.2f} is above "
        f"{health.khat_threshold:.2f}. Do not read single weights' scales as uncertainty, nor reweight draws by "
        f"importance. For networks this is the rule, and predictions may be calibrated all the same: look at held-out "
        f"coverage, ECE or log density."
    ]
