"""Bounds on the effect of bfloat16 roundings.

They are running error bounds of a network's outputs and gradients, computed in float64. Each number carries a bound on
its error, to first order: the errors of its operands times the absolute slopes, plus half an eps times every number
that is rounded.

Source: Higham 2002, Accuracy and Stability of Numerical Algorithms, section 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from parity_tests.harness import Arrays
from parity_tests.models import Spec

_U = 2.0**-8  # half of bfloat16's eps: the relative error of one rounding


@dataclass(frozen=True)
class Pass:
    """Pass of a network on a draw, with error bounds.

    Attributes:
        weights: drawn weights [out, in] of each layer.
        inputs, input_errors: inputs [batch, in] of each layer, and their errors.
        outputs, output_error: outputs [batch, out] of the network, and their error.
    """

    weights: list[np.ndarray]
    inputs: list[np.ndarray]
    input_errors: list[np.ndarray]
    outputs: np.ndarray
    output_error: np.ndarray


def drawn(i: Arrays, layer: int, posterior: str, draw: Any) -> np.ndarray:
    """Draw a weight tensor.

    Args:
        draw: index of the draw, or ``...`` for noise without an axis of draws.
    """
    mu, rho = (i[f"layers.{2 * layer}.{posterior}_posterior.{part}"] for part in ("mu", "rho"))
    return mu + np.log1p(np.exp(rho)) * i[f"noise.{layer}.{posterior}"][draw]


def forward(spec: Spec, i: Arrays, draw: Any) -> Pass:
    """Run a pass.

    A layer rounds its weights, its bias, their product with x, the sum with the bias, and the activation.
    """
    h, error = i["x"], np.zeros_like(i["x"])
    weights, inputs, errors = [], [], []
    last = len(spec.sizes) - 2
    for layer in range(last + 1):
        weight, bias = (drawn(i, layer, posterior, draw) for posterior in ("weight", "bias"))
        weights.append(weight)
        inputs.append(h)
        errors.append(error)
        product = h @ weight.T
        rounded = np.abs(h) @ np.abs(weight).T + np.abs(bias) + np.abs(product) + np.abs(product + bias)
        h, error = product + bias, error @ np.abs(weight).T + _U * rounded
        if layer < last:
            error = error * (1.0 - np.tanh(h) ** 2 if spec.activation == "tanh" else 1.0)
            h = np.tanh(h) if spec.activation == "tanh" else np.maximum(h, 0.0)
            error = error + _U * np.abs(h)
    return Pass(weights, inputs, errors, h, error)


def backward(spec: Spec, i: Arrays, draw: Any, slope: np.ndarray, slope_error: np.ndarray) -> Arrays:
    """Bound the errors of a tanh network's gradients by each input.

    Args:
        slope, slope_error: the gradient by the outputs, and its error.
    """
    of, found = forward(spec, i, draw), {}
    g, error = slope, slope_error + _U * np.abs(slope)
    for layer in reversed(range(len(of.weights))):
        weight, h, h_error = of.weights[layer], of.inputs[layer], of.input_errors[layer]
        size = np.abs(g)
        # The product is rounded, and so is the gradient of a parameter that is itself a bfloat16 number.
        of_weight = error.T @ np.abs(h) + size.T @ h_error + 2 * _U * size.T @ np.abs(h)
        of_bias = error.sum(axis=0) + 2 * _U * size.sum(axis=0)
        for posterior, bound in (("weight", of_weight), ("bias", of_bias)):
            name = f"layers.{2 * layer}.{posterior}_posterior"
            by_rho = np.abs(i[f"noise.{layer}.{posterior}"][draw]) / (1.0 + np.exp(-i[f"{name}.rho"]))
            found |= {f"{name}.mu": bound, f"{name}.rho": bound * by_rho}
        g, error = g @ weight, error @ np.abs(weight) + 2 * _U * size @ np.abs(weight)
        if layer > 0:
            # In bfloat16, 1 - h^2 has the error of h and a rounding error of its own.
            error = error * (1.0 - h**2) + np.abs(g) * (2.0 * np.abs(h) * h_error + 3 * _U)
            g = g * (1.0 - h**2)
    return found | {"x": error}


def probabilities(of: Pass) -> tuple[np.ndarray, np.ndarray]:
    """Compute the softmax of a pass's outputs, and its error."""
    shifted = np.exp(of.outputs - of.outputs.max(axis=-1, keepdims=True))
    probs = shifted / shifted.sum(axis=-1, keepdims=True)
    # d p_c / d logit_j = p_c (1[c = j] - p_j)
    spread = probs * (of.output_error * (1.0 - 2.0 * probs) + (probs * of.output_error).sum(axis=-1, keepdims=True))
    return probs, spread


def cross_entropy(i: Arrays, of: Pass) -> tuple[float, np.ndarray, np.ndarray]:
    """Bound the error of the mean cross-entropy.

    Returns:
        (error, slopes by the logits, errors of the slopes).
    """
    probs, spread = probabilities(of)
    slopes = (probs - np.eye(probs.shape[-1])[i["y"]]) / len(probs)
    error = float((np.abs(slopes) * of.output_error).sum())
    return error, slopes, spread / len(probs)


def moments(values: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bound the errors of mean and variance over draws.

    The draws are [draws, ...]. Both moments are rounded at the end.
    """
    mean, mean_error = values.mean(axis=0), errors.mean(axis=0)
    deviation, deviation_error = np.abs(values - mean), errors + mean_error
    # (d + e)^2 - d^2 <= 2 |d| e + e^2; the square is kept, since a deviation may be as small as its error.
    var_error = (2.0 * deviation * deviation_error + deviation_error**2).mean(axis=0)
    return mean_error + _U * np.abs(mean), var_error + _U * values.var(axis=0)


def kl_gradients(spec: Spec, i: Arrays) -> Arrays:
    """Bound the effect of one rounding on the KL's gradients, for a prior of mean 0."""
    found = {}
    for name in spec.weight_names:
        if name.endswith(".mu"):
            found[name] = _U * np.abs(i[name]) / spec.prior_sigma**2
        else:
            sigma = np.log1p(np.exp(i[name]))
            found[name] = _U * (sigma / spec.prior_sigma**2 + 1.0 / sigma) * -np.expm1(-sigma)
    return found
