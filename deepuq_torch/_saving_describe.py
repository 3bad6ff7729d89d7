"""Descriptions of models, in the form of ``docs/file-format.md``."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from torch import nn

from ._activations import ACTIVATION_NAMES
from ._homoscedastic import HomoscedasticBayesByBackpropRegressor
from ._last_layer import LastLayerVariationalInference
from ._layers import BayesianLinear
from ._mlp import BayesByBackpropMLP
from ._module import BayesianModule
from ._posterior import GaussianPosterior, GaussianPrior
from ._pruned import PrunedLinear
from ._regressors import (
    BayesianRegressor,
    HeteroscedasticBayesByBackpropRegressor,
    HeteroscedasticMultiOutputBayesByBackpropRegressor,
    MultiOutputBayesByBackpropRegressor,
)
from ._saving_likelihood import describe_likelihood
from ._saving_node import CLASS, OWN, Node, dtype_name

# The regressors, keyed by the name of their class.
REGRESSORS: dict[str, type[BayesianRegressor]] = {
    kind.__name__: kind
    for kind in (
        MultiOutputBayesByBackpropRegressor,
        HeteroscedasticBayesByBackpropRegressor,
        HeteroscedasticMultiOutputBayesByBackpropRegressor,
        HomoscedasticBayesByBackpropRegressor,
    )
}
# Classes of the deterministic parts of a model.
PARTS = frozenset({"Activation", "Linear", "Stack", OWN, "function"})


def describe(module: nn.Module, training: bool) -> Node:
    """Describe a module.

    Args:
        module: any module.
        training: mode of the whole model.

    Returns:
        the node of the module. Its class is ``own`` if no class of the format describes the module completely.
    """
    node = _describe_known(module, training)
    return describe_own(module, training) if node is None else node


def _describe_part(module: Any, training: bool) -> Node:
    """Describe a deterministic part.

    A part with Bayesian layers gets the class ``own``, because ``nnx.Sequential`` calls such layers at their means, and
    ``nn.Sequential`` draws their weights.
    """
    node = describe(module, training)
    return node if node[CLASS] in PARTS else describe_own(module, training)


def names_own_parts(node: Any) -> bool:
    """Return whether a node needs the caller's code."""
    if isinstance(node, list):
        return any(map(names_own_parts, node))
    return isinstance(node, dict) and (node.get(CLASS) == OWN or any(map(names_own_parts, node.values())))


def _describe_known(module: Any, training: bool) -> Node | None:
    kind = type(module)
    if kind is LastLayerVariationalInference:
        return _describe_last_layer(module, training)
    if kind is nn.Sequential:
        return _describe_stack(module, training)
    return _DESCRIBERS[kind](module) if kind in _DESCRIBERS else None


def describe_own(module: Any, training: bool) -> Node:
    """Name the class of a part, and its modes.

    The modes are the names of its modules in evaluation mode, or None if all are in the model's mode.
    """
    members = list(module.named_modules()) if isinstance(module, nn.Module) else []
    mixed = any(member.training != training for _, member in members)
    mode = [name for name, member in members if not member.training] if mixed else None
    return {CLASS: OWN, "name": type(module).__name__, "mode": mode}


def _describe_layer(layer: BayesianLinear) -> Node | None:
    posteriors, prior = (layer.weight_posterior, layer.bias_posterior), layer.prior
    dtype = dtype_name([tensor for q in posteriors for tensor in (q.mu, q.rho)])
    numbers = type(prior) is GaussianPrior and isinstance(prior.mu, float) and isinstance(prior.sigma, float)
    if dtype is None or not numbers or any(type(posterior) is not GaussianPosterior for posterior in posteriors):
        return None
    return {
        CLASS: "BayesianLinear",
        "in_features": layer.in_features,
        "out_features": layer.out_features,
        "use_bias": True,
        "prior": {CLASS: "GaussianPrior", "mu": prior.mu, "sigma": prior.sigma},
        "estimator": "weight_sampling",
        "param_dtype": dtype,
        "dtype": None,
        "prune_mask": isinstance(layer, PrunedLinear),
    }


def _describe_mlp(model: BayesByBackpropMLP) -> Node | None:
    return _describe_network(model, list(model.layers[::2]), list(model.layers[1::2]))


def _describe_regressor(model: BayesianRegressor) -> Node | None:
    return _describe_network(model, model.bayesian_layers(), [model.activation])


def _describe_network(model: Any, layers: list[Any], activations: list[nn.Module]) -> Node | None:
    sizes = [model.input_dim, *model.hidden_dims, _outputs_of(model)]
    nodes = [_describe_layer_of_size(layer, size) for layer, size in zip(layers, pairwise(sizes), strict=False)]
    activation = {CLASS: "Activation", "name": model.activation_name.lower()}
    if len(layers) != len(sizes) - 1 or None in nodes:
        return None
    if any(_describe_known(member, True) != activation for member in activations):
        return None
    return {
        CLASS: type(model).__name__,
        "input_dim": model.input_dim,
        "output_dim": model.output_dim,
        "hidden_dims": list(model.hidden_dims),
        "activation": activation["name"] if model.hidden_dims else None,
        "likelihood": describe_likelihood(model),
        "layers": nodes,
    }


def _outputs_of(model: Any) -> int:
    """Return the size of the last layer's outputs."""
    return model.output_dim * (2 if model.heteroscedastic else 1)


def _describe_layer_of_size(layer: Any, size: tuple[int, int]) -> Node | None:
    if type(layer) not in (BayesianLinear, PrunedLinear) or (layer.in_features, layer.out_features) != size:
        return None
    return _describe_layer(layer)


def _describe_last_layer(model: LastLayerVariationalInference, training: bool) -> Node | None:
    head = _describe_layer_of_size(model.head, (model.feature_dim, _outputs_of(model)))
    if head is None or _has_more_than(model, {"feature_extractor", "head"}):
        return None
    return {
        CLASS: type(model).__name__,
        "feature_dim": model.feature_dim,
        "output_dim": model.output_dim,
        "task": model.task_type,
        "heteroscedastic": model.heteroscedastic,
        "frozen": _is_frozen(model.feature_extractor),
        "likelihood": describe_likelihood(model),
        "feature_extractor": _describe_part(model.feature_extractor, training),
        "head": head,
    }


def _is_frozen(module: Any) -> bool:
    """Return whether there are parameters, none of which requires a gradient."""
    flags = [parameter.requires_grad for parameter in module.parameters()] if isinstance(module, nn.Module) else []
    return bool(flags) and not any(flags)


def _describe_stack(stack: nn.Sequential, training: bool) -> Node | None:
    if _has_more_than(stack, {str(i) for i in range(len(stack))}):
        return None
    if any(isinstance(module, BayesianModule) for module in stack.modules()):
        return None
    return {CLASS: "Stack", "members": [_describe_part(member, training) for member in stack]}


def _has_more_than(module: nn.Module, children: set[str]) -> bool:
    """Return whether a module holds more than these children."""
    return bool(module._parameters or module._buffers or set(module._modules) - children)


def _describe_linear(linear: nn.Linear) -> Node | None:
    dtype = dtype_name(list(linear.parameters()))
    if dtype is None:
        return None
    return {
        CLASS: "Linear",
        "in_features": linear.in_features,
        "out_features": linear.out_features,
        "use_bias": linear.bias is not None,
        "param_dtype": dtype,
        "dtype": None,
    }


def _describe_activation(module: nn.Module) -> Node | None:
    if isinstance(module, nn.GELU) and module.approximate != "none":
        return None
    return {CLASS: "Activation", "name": ACTIVATION_NAMES[type(module)]}


_DESCRIBERS: dict[type, Callable[[Any], Node | None]] = {
    BayesianLinear: _describe_layer,
    PrunedLinear: _describe_layer,
    BayesByBackpropMLP: _describe_mlp,
    nn.Linear: _describe_linear,
    **dict.fromkeys(REGRESSORS.values(), _describe_regressor),
    **dict.fromkeys(ACTIVATION_NAMES, _describe_activation),
}
