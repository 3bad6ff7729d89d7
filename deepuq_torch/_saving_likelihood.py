"""Likelihoods of saved models.

Models of this package have no likelihood object: their class, ``task_type`` and ``noise_sigma`` determine it.
"""

from __future__ import annotations

from typing import Any

from ._mlp import BayesByBackpropMLP
from ._saving_node import CLASS, Node, Path, Settings, as_node


def describe_likelihood(model: Any) -> Node | None:
    """Describe the likelihood; None for a model that leaves it to the criterion."""
    if model.predicts_noise:
        return {CLASS: "HomoscedasticGaussian"}
    if model.heteroscedastic:
        return {CLASS: "HeteroscedasticGaussian"}
    if model.task_type == "classification":
        return {CLASS: "Categorical", "class_weights": None, "label_smoothing": 0.0}
    if model.noise_sigma is not None:
        return {CLASS: "Gaussian", "sigma": model.noise_sigma}
    return {CLASS: "UnknownNoise"} if model.task_type == "regression" else None


def take_likelihood(model: Any, value: Any, path: Path) -> None:
    """Give a new model the likelihood of a file.

    Raises:
        ValueError: the model cannot have this likelihood.
    """
    is_mlp = type(model) is BayesByBackpropMLP
    if is_mlp and value is None:
        return
    path = (*path, "likelihood")
    node = as_node(value, path, _possible(model, is_mlp))
    if node[CLASS] == "Categorical":
        settings = Settings(node, path, "class_weights", "label_smoothing")
        settings.one_of("class_weights", None)
        settings.one_of("label_smoothing", 0.0, 0)
        model.task_type = "classification"
    elif node[CLASS] == "Gaussian":
        model.noise_sigma = Settings(node, path, "sigma").positive("sigma")
        model.task_type = "regression"
    else:
        Settings(node, path)
        model.task_type = "regression"


def _possible(model: Any, is_mlp: bool) -> tuple[str, ...]:
    if is_mlp:
        return "Categorical", "Gaussian", "UnknownNoise"
    own = describe_likelihood(model)
    assert own is not None  # for the type checker: all other models have one
    return ("Gaussian", "UnknownNoise") if own[CLASS] == "UnknownNoise" else (own[CLASS],)
