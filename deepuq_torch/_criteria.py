"""Default criteria and log-likelihoods of a model."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ._checks import fault, function, real_tensor, same_shape
from ._gaussian import at_least_float32
from ._likelihood import (
    LogLikelihood,
    categorical_log_likelihood,
    gaussian_log_density,
    gaussian_log_likelihood,
    need_class_indices,
    need_labels_in_range,
)

Criterion = Callable[[Any, Any], Tensor]

_IGNORED_LABEL = -100  # torch's cross-entropy leaves such examples out
# Torch's losses that compare outputs and targets element by element. They broadcast unequal shapes, and at most warn.
_ELEMENTWISE_LOSSES = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.PoissonNLLLoss)
_ELEMENTWISE_PASSES = tuple(loss.forward for loss in _ELEMENTWISE_LOSSES)
_ELEMENTWISE_FUNCTIONS = (F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss, F.poisson_nll_loss)
_REGRESSION = "For regression, pass criterion=, such as torch.nn.MSELoss()."


def is_heteroscedastic(model: Any) -> bool:
    """Return whether the predicted noise depends on the input."""
    return bool(getattr(model, "heteroscedastic", False))


def predicts_noise(model: Any) -> bool:
    """Return whether the model's outputs include raw variances of its noise.

    The noise depends on the input, or is learned and the same for all inputs.
    """
    return bool(getattr(model, "predicts_noise", False)) or is_heteroscedastic(model)


def known_noise(model: Any) -> float | None:
    """Return the standard deviation of a model's known noise, if it has one.

    ``load`` sets it, from the file.
    """
    return getattr(model, "noise_sigma", None)


def step_criterion(model: Any, criterion: Criterion | None) -> Criterion:
    """Choose the criterion of ``vi_elbo_step``.

    A model that predicts its noise is scored by its own ``nll``. Other models are scored by the caller's criterion, or
    else by the density of their known noise, or else by the default of their task.
    """
    if predicts_noise(model) and callable(getattr(model, "nll", None)):
        return model.nll
    if criterion is not None:
        function("criterion", criterion)
        return criterion
    sigma = known_noise(model)
    if sigma is not None:
        return functools.partial(_mean_nll, gaussian_log_likelihood(sigma))
    if getattr(model, "task_type", "classification") == "regression":
        return mean_squared_error
    return mean_cross_entropy


def _mean_nll(log_likelihood: LogLikelihood, outputs: Tensor, y: Tensor) -> Tensor:
    return -log_likelihood(outputs, y).mean()


def default_log_likelihood(model: Any) -> LogLikelihood:
    """Choose the log-likelihood of ``negative_elbo``; raise an error if the model does not determine it."""
    if predicts_noise(model):
        return _PredictedNoise(model)
    sigma = known_noise(model)
    if sigma is not None:
        return gaussian_log_likelihood(sigma)
    if getattr(model, "task_type", "classification") == "regression":
        wanted = "for a regression model that does not predict its noise, such as gaussian_log_likelihood(sigma)"
        raise ValueError(fault("log_likelihood", wanted, None))
    return categorical_log_likelihood


def compares_elements(criterion: Criterion) -> bool:
    """Return whether a criterion is an elementwise regression loss of torch.

    A function of the caller, or a subclass with its own ``forward``, may reshape the targets, so it does not count.
    """
    if isinstance(criterion, nn.Module):
        return any(type(criterion).forward is known for known in _ELEMENTWISE_PASSES)
    if isinstance(criterion, functools.partial):
        criterion = criterion.func
    return any(criterion is known for known in _ELEMENTWISE_FUNCTIONS)


def need_equal_shapes(outputs: Any, y: Any) -> None:
    """Refuse tensors that an elementwise loss would broadcast."""
    if isinstance(outputs, Tensor) and isinstance(y, Tensor):
        same_shape("y", y, outputs.shape, "the model's outputs")


def mean_squared_error(outputs: Tensor, y: Tensor) -> Tensor:
    """Mean squared error, without broadcasting."""
    return F.mse_loss(outputs, same_shape("y", y, outputs.shape, "the model's outputs"))


def mean_cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy of class indices or class probabilities.

    Probabilities have the shape of the outputs.
    """
    class_axis = 1 if outputs.ndim > 1 else 0
    indices = outputs.shape[:class_axis] + outputs.shape[class_axis + 1 :]
    # Floats shaped like indices are labels of a wrong dtype, not probabilities of a wrong shape.
    if real_tensor("y", y).is_floating_point() and y.shape != indices:
        same_shape("y", y, outputs.shape, "the model's outputs")
        if outputs.shape[class_axis] == 1:
            wanted = "for a single output, whose cross-entropy is 0 whatever the targets"
            raise ValueError(fault("criterion", wanted, None, _REGRESSION))
        return F.cross_entropy(outputs, y)
    need_class_indices(y, _REGRESSION)
    same_shape("y", y, indices, "the model's outputs without the class axis")
    try:
        return F.cross_entropy(outputs, y.long())
    except (IndexError, RuntimeError):
        need_labels_in_range(y, outputs.shape[class_axis], ignored=_IGNORED_LABEL)
        raise


class _PredictedNoise:
    """Gaussian log density with a model's mean and variance."""

    def __init__(self, model: Any):
        need_variance_methods(model)
        self.model = model

    def __call__(self, outputs: Tensor, y: Tensor) -> Tensor:
        outputs = at_least_float32(outputs) if isinstance(outputs, Tensor) else outputs
        mean, raw_var = self.model.split_prediction(outputs)
        return gaussian_log_density(mean, self.model.predictive_variance(raw_var), y)


def need_variance_methods(model: Any) -> None:
    """Require a model with methods that read means and variances from its outputs."""
    if not (hasattr(model, "split_prediction") and hasattr(model, "predictive_variance")):
        wanted = "to have split_prediction and predictive_variance, being heteroscedastic"
        raise ValueError(fault("model", wanted, type(model).__name__))
