"""The expected values, by plain Monte Carlo in NumPy."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import numpy as np

from benchmarks.speed.workloads import (
    CONV_PADDING,
    CONV_STRIDE,
    NOISE_SIGMA,
    POSTERIOR_SIGMA,
    PRIOR_SIGMA,
    Network,
    Weights,
)

CHECKED_INPUTS = 20  # inputs of a prediction that are checked; they share the draws, which cost most
LOSS_DRAWS, PREDICTION_DRAWS = 64, 1000


def forward(weights: Weights, x: np.ndarray) -> np.ndarray:
    """Outputs [batch, outputs] of the network with these weights."""
    for i, (kernel, bias) in enumerate(weights):
        if kernel.ndim == 2 and x.ndim == 4:
            x = x.mean(axis=(1, 2))
        x = (x @ kernel if kernel.ndim == 2 else _convolve(x, kernel)) + bias
        if i < len(weights) - 1:
            x = np.maximum(x, 0)
    return x


def _convolve(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    pad = (CONV_PADDING, CONV_PADDING)
    padded = np.pad(x, ((0, 0), pad, pad, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[:2], axis=(1, 2))
    return np.einsum("bhwcij,ijco->bhwo", windows[:, ::CONV_STRIDE, ::CONV_STRIDE], kernel, optimize=True)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def nll(network: Network, outputs: np.ndarray, y: np.ndarray) -> float:
    """Mean negative log-likelihood, nats per example."""
    if network.is_regression:
        z = (y - outputs) / NOISE_SIGMA
        return float(np.mean(0.5 * z**2 + np.log(NOISE_SIGMA * np.sqrt(2 * np.pi))))
    return float(-np.mean(np.log(softmax(outputs)[np.arange(len(y)), y])))


def kl(network: Network) -> float:
    """KL(q || p) at the start, nats, in closed form."""
    ratio = POSTERIOR_SIGMA / PRIOR_SIGMA
    squares = sum(float(np.sum(np.square(mu, dtype=np.float64))) for layer in network.means() for mu in layer)
    return network.size * (-np.log(ratio) + ratio**2 / 2 - 0.5) + squares / (2 * PRIOR_SIGMA**2)


@dataclass(frozen=True)
class Moments:
    """Mean and variance of a quantity at a single draw.

    Both arrays have the quantity's shape.
    """

    mean: np.ndarray
    var: np.ndarray
    draws: int


def _moments(values: np.ndarray) -> Moments:
    return Moments(values.mean(axis=0), values.var(axis=0), len(values))


@dataclass(frozen=True)
class Prediction(Moments):
    """Moments of the outputs at a single draw, [inputs, outputs].

    Attributes:
        spread: mean squared distance of a draw's outputs from their mean, which is the sum of their variances [inputs].
        spread_var: variance of that squared distance [inputs]. The variances are summed because a thousand draws are
            too few to estimate the error of a single one, such as that of a class that few draws find likely.
    """

    spread: np.ndarray
    spread_var: np.ndarray


def _draw(means: Weights, random: np.random.Generator) -> Weights:
    """Draw weights from the posterior."""

    def noisy(mu: np.ndarray) -> np.ndarray:
        return mu + np.float32(POSTERIOR_SIGMA) * random.standard_normal(mu.shape, np.float32)

    return [(noisy(kernel), noisy(bias)) for kernel, bias in means]


@functools.cache
def first_loss(network: Network, batch: int) -> dict[str, Moments]:
    """Moments of the first training loss, at a single draw and a random batch.

    Returns:
        Moments, in nats per example, for each way to include the KL. "exact": NLL + KL / num_data; "sampled": log q(w)
        - log p(w) in place of the KL; "none": the NLL alone.
    """
    random = np.random.default_rng(2)
    means, exact = network.means(), kl(network)
    x, y = network.data(16 * batch)
    rows = []
    for _ in range(LOSS_DRAWS):
        weights, chosen = _draw(means, random), random.choice(len(x), batch, replace=False)
        value = nll(network, forward(weights, x[chosen]), y[chosen])
        sampled = sum(map(_log_ratio, itertools.chain(*weights), itertools.chain(*means)))
        rows.append([value + exact / network.num_data, value + sampled / network.num_data, value])
    columns = np.array(rows).T
    return {how: _moments(column) for how, column in zip(("exact", "sampled", "none"), columns, strict=True)}


def _log_ratio(w: np.ndarray, mu: np.ndarray) -> float:
    """log q(w) - log p(w), nats."""
    log_q = -0.5 * np.square((w - mu) / POSTERIOR_SIGMA) - np.log(POSTERIOR_SIGMA)
    log_p = -0.5 * np.square(w / PRIOR_SIGMA) - np.log(PRIOR_SIGMA)
    return float(np.sum(log_q - log_p, dtype=np.float64))


@functools.cache
def prediction(network: Network, inputs: int) -> Prediction:
    """Moments of a draw's prediction, [checked, outputs].

    Only the first `CHECKED_INPUTS` inputs are checked. A prediction is the outputs in regression, and class
    probabilities otherwise.
    """
    random = np.random.default_rng(3)
    means, x = network.means(), network.data(inputs)[0][:CHECKED_INPUTS]
    draws = []
    for _ in range(PREDICTION_DRAWS):
        outputs = forward(_draw(means, random), x).astype(np.float64)
        draws.append(outputs if network.is_regression else softmax(outputs))
    values = np.stack(draws)
    distance = np.square(values - values.mean(axis=0)).sum(axis=-1)
    mean, var = values.mean(axis=0), values.var(axis=0)
    return Prediction(mean, var, len(values), spread=distance.mean(axis=0), spread_var=distance.var(axis=0))
