"""Log-likelihoods, in nats per example, constants included.

Each is a callable ``(outputs, y) -> [batch]``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ._checks import broadcasts_to, fault, floating_tensor, positive_number, real_tensor, same_shape
from ._gaussian import at_least_float32, normal_log_prob
from ._heteroscedastic import split_raw, variance_from_raw

LogLikelihood: TypeAlias = Callable[[Any, Any], Tensor]


def categorical_log_likelihood(outputs: Tensor, y: Tensor) -> Tensor:
    """Log-probability of a class: ``log softmax(outputs)[y]``.

    Args:
        outputs: logits, ``[batch, classes]``.
        y: class indices, an integer tensor ``[batch]``. No index is ignored.

    Returns:
        ``[batch]``, nats per example, in at least float32.

    Raises:
        ValueError: outputs or y has a different shape, or a label is out of range (on a CPU; elsewhere torch reports it
            in its own way).
        TypeError: y is not an integer tensor.

    Example:
        >>> categorical_log_likelihood(torch.zeros(3, 2), torch.tensor([0, 1, 1]))
        tensor([-0.6931, -0.6931, -0.6931])
    """
    if outputs.ndim != 2:
        raise ValueError(fault("outputs", "to be logits [batch, classes]", f"shape {tuple(outputs.shape)}"))
    need_class_indices(y, "For regression, use gaussian_log_likelihood(sigma) as log_likelihood.")
    same_shape("y", y, outputs.shape[:1], "outputs without its last axis")
    log_probs = torch.log_softmax(at_least_float32(outputs), dim=-1)
    try:
        return log_probs.gather(-1, y.long().unsqueeze(-1)).squeeze(-1)
    except (IndexError, RuntimeError):
        need_labels_in_range(y, outputs.shape[-1])
        raise


def gaussian_log_likelihood(sigma: float | Tensor) -> LogLikelihood:
    """Gaussian log density with known noise.

    ``log N(y; outputs, sigma^2)``

    Args:
        sigma: standard deviation (not a variance) of the noise: a positive number, or a tensor that broadcasts against
            the outputs of an example. The tensor may be learned.

    Returns:
        a callable that takes outputs and y, both ``[batch, ...]`` of the same shape, and returns ``[batch]``: nats per
        example, summed over outputs, in at least float32.

    Raises:
        ValueError: sigma is not positive; in the call, y and the outputs have different shapes.
        TypeError: sigma is neither a number nor a floating tensor.

    Example:
        >>> gaussian_log_likelihood(0.1)(torch.zeros(2, 1), torch.zeros(2, 1))
        tensor([1.3836, 1.3836])
    """
    known = (
        real_tensor("sigma", floating_tensor("sigma", sigma))
        if isinstance(sigma, Tensor)
        else positive_number("sigma", sigma)
    )
    return functools.partial(_known_noise, sigma=known)  # a partial can be pickled, a closure cannot


def heteroscedastic_gaussian_log_likelihood(outputs: Tensor, y: Tensor) -> Tensor:
    """Gaussian log density with predicted noise.

    ``log N(y; m, softplus(v) + 1e-6)``

    Args:
        outputs: ``[batch, 2 * d]``, d means m and then d raw variances v.
        y: ``[batch, d]``.

    Returns:
        ``[batch]``, nats per example, summed over the d targets, in at least float32.

    Raises:
        ValueError: the shapes do not match.

    Source:
        Kendall and Gal 2017, https://arxiv.org/abs/1703.04977

    Example:
        >>> heteroscedastic_gaussian_log_likelihood(torch.zeros(2, 2), torch.zeros(2, 1))
        tensor([-0.7357, -0.7357])
    """
    mean, raw_var = split_raw(at_least_float32(outputs), y.shape[-1] if y.ndim > 0 else 1)
    return gaussian_log_density(mean, variance_from_raw(raw_var), y)


def gaussian_log_density(mean: Tensor, var: Tensor, y: Tensor) -> Tensor:
    """Compute ``log N(y; mean, var)`` per example: ``[batch]``, in nats."""
    same_shape("y", y, mean.shape, "the predicted mean")
    return _per_example(normal_log_prob(y, at_least_float32(mean), at_least_float32(var).sqrt()))


def _known_noise(outputs: Tensor, y: Tensor, *, sigma: float | Tensor) -> Tensor:
    same_shape("y", real_tensor("y", y), real_tensor("outputs", outputs).shape, "outputs")
    if isinstance(sigma, Tensor):
        broadcasts_to("sigma", sigma, outputs.shape, "outputs")
    return _per_example(normal_log_prob(y, at_least_float32(outputs), sigma))


def _per_example(density: Tensor) -> Tensor:
    return density.flatten(start_dim=1).sum(dim=1) if density.ndim > 1 else density


def need_class_indices(y: Tensor, for_regression: str) -> None:
    """Require labels of an integer dtype; if they are floats, advise on regression."""
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        advice = for_regression if y.is_floating_point() else ""
        raise TypeError(fault("y", "to hold class indices, an integer dtype", y.dtype, advice))


def need_labels_in_range(y: Tensor, classes: int, ignored: int | None = None) -> None:
    """Refuse labels out of range.

    This check reads the labels, so it runs only after an operation has failed.
    """
    wrong = (y < 0) | (y >= classes)
    if ignored is not None:
        wrong &= y != ignored
    if wrong.any():
        label = y[wrong].flatten()[0].item()
        raise ValueError(fault("y", f"to hold class indices from 0 to {classes - 1}", label)) from None
