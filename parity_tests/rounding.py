"""How far the roundings of bfloat16 can move a network's outputs and gradients: a running error bound, in float64.

Beside each number its error is carried along, to first order: what comes in times the size of the slope, plus half an
eps of everything that is rounded here. Higham 2002, Accuracy and Stability of Numerical Algorithms, section 3.3.
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
    """One pass of a network on one draw: by layer, its weights and what came in, and the outputs; each error beside."""

    weights: list[np.ndarray]
    inputs: list[np.ndarray]
    input_errors: list[np.ndarray]
    outputs: np.ndarray
    output_error: np.ndarray


def drawn(i: Arrays, layer: int, posterior: str, draw: Any) -> np.ndarray:
    """A weight tensor of one draw; `draw` is its index, or ``...`` where noise has no axis of draws."""
    mu, rho = (i[f"layers.{2 * layer}.{posterior}_posterior.{part}"] for part in ("mu", "rho"))
    return mu + np.log1p(np.exp(rho)) * i[f"noise.{layer}.{posterior}"][draw]


def forward(spec: Spec, i: Arrays, draw: Any) -> Pass:
    """Rounded are a layer's weights, its bias, their product with x, the sum with the bias, and the activation."""
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
    """The errors of the gradients of a tanh network, by input, where those of its outputs are `slope`."""
    of, found = forward(spec, i, draw), {}
    g, error = slope, slope_error + _U * np.abs(slope)
    for layer in reversed(range(len(of.weights))):
        weight, h, h_error = of.weights[layer], of.inputs[layer], of.input_errors[layer]
        size = np.abs(g)
        # The product, its rounding, and that of the gradient of a parameter which is itself a bfloat16 number.
        of_weight = error.T @ np.abs(h) + size.T @ h_error + 2 * _U * size.T @ np.abs(h)
        of_bias = error.sum(axis=0) + 2 * _U * size.sum(axis=0)
        for posterior, bound in (("weight", of_weight), ("bias", of_bias)):
            name = f"layers.{2 * layer}.{posterior}_posterior"
            by_rho = np.abs(i[f"noise.{layer}.{posterior}"][draw]) / (1.0 + np.exp(-i[f"{name}.rho"]))
            found |= {f"{name}.mu": bound, f"{name}.rho": bound * by_rho}
        g, error = g @ weight, error @ np.abs(weight) + 2 * _U * size @ np.abs(weight)
        if layer > 0:
            # 1 - h^2 in bfloat16 has the error of h, and one of its own beside 1.
            error = error * (1.0 - h**2) + np.abs(g) * (2.0 * np.abs(h) * h_error + 3 * _U)
            g = g * (1.0 - h**2)
    return found | {"x": error}


def cross_entropy(i: Arrays, of: Pass) -> tuple[float, np.ndarray, np.ndarray]:
    """The error of the mean cross-entropy; its slopes by the logits, and their errors."""
    shifted = np.exp(of.outputs - of.outputs.max(axis=-1, keepdims=True))
    probs = shifted / shifted.sum(axis=-1, keepdims=True)
    slopes = (probs - np.eye(probs.shape[-1])[i["y"]]) / len(probs)
    error = float((np.abs(slopes) * of.output_error).sum())
    # d p_c / d logit_j = p_c (1[c = j] - p_j)
    spread = probs * (of.output_error * (1.0 - 2.0 * probs) + (probs * of.output_error).sum(axis=-1, keepdims=True))
    return error, slopes, spread / len(probs)


def kl_gradients(spec: Spec, i: Arrays) -> Arrays:
    """By how much one rounding moves the gradients of the KL, whose prior has the mean 0."""
    found = {}
    for name in spec.weight_names:
        if name.endswith(".mu"):
            found[name] = _U * np.abs(i[name]) / spec.prior_sigma**2
        else:
            sigma = np.log1p(np.exp(i[name]))
            found[name] = _U * (sigma / spec.prior_sigma**2 + 1.0 / sigma) * -np.expm1(-sigma)
    return found
