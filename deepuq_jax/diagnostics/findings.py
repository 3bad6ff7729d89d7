"""A sentence in plain words for each thing that is off in a fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

# A remainder batch alone moves N / (B num_batches) by less than this.
TEMPERATURE_SLACK = 0.1
# A layer with so large a share of its weights at the prior does hardly more than add noise.
PRUNED_SHARE = 0.9
# The 95 % quantile of |mu| / sigma below the first: no weight is known to be other than 0. The 5 % quantile above the
# second: q is a point.
NO_SIGNAL, NO_NOISE = 1.0, 100.0
# Between a model's KL and the sum over its weights; float32 sums agree far better.
KL_SLACK = 0.01


class Layer(Protocol):
    """What is read of a `LayerHealth`."""

    @property
    def path(self) -> str: ...
    @property
    def num_weights(self) -> int: ...
    @property
    def kl(self) -> float: ...
    @property
    def share_at_prior(self) -> float: ...


class Health(Protocol):
    """What is read of a `FitHealth`."""

    @property
    def khat(self) -> float: ...
    @property
    def khat_threshold(self) -> float: ...
    @property
    def kl(self) -> float: ...
    @property
    def temperature(self) -> float: ...
    @property
    def layers(self) -> Sequence[Layer]: ...
    @property
    def signal_to_noise(self) -> Sequence[float]: ...


def findings_of(health: Health) -> tuple[str, ...]:
    """What is off, the cause before its effects.

    Args:
        health: a `FitHealth`.
    Returns:
        Sentences; none where nothing is off.
    """
    return (*_kl(health), *_temperature(health), *_pruned(health), *_signal(health), *_khat(health))


def _kl(health: Health) -> list[str]:
    total = sum(layer.kl for layer in health.layers)
    if abs(total - health.kl) <= KL_SLACK * max(1.0, abs(health.kl)):
        return []
    return [
        f"The layers' KL adds up to {total:,.1f} nats, but model.kl() is {health.kl:,.1f}: the model counts other "
        f"things than its mean-field weights, or counts them otherwise. Read what is said by layer with care."
    ]


def _temperature(health: Health) -> list[str]:
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


def _pruned(health: Health) -> list[str]:
    return [
        f"Layer {layer.path} is over-pruned: {layer.share_at_prior:.0%} of its {layer.num_weights:,} weights are still "
        f"at the prior. Either it is wider than the data need, or the KL holds it back: weigh the KL less in the first "
        f"epochs, train longer, or choose another prior scale."
        for layer in health.layers
        if layer.share_at_prior > PRUNED_SHARE
    ]


def _signal(health: Health) -> list[str]:
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


def _khat(health: Health) -> list[str]:
    if not health.khat > health.khat_threshold:
        return []
    return [
        f"The posterior over the weights is far from the exact one: k-hat {health.khat:.2f} is above "
        f"{health.khat_threshold:.2f}. Do not read single weights' scales as uncertainty, nor reweight draws by "
        f"importance. For networks this is the rule, and predictions may be calibrated all the same: look at held-out "
        f"coverage, ECE or log density."
    ]
