"""Models built from their descriptions, without memory for their tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from ._activations import ACTIVATION_NAMES, activation_module
from ._checks import fault
from ._last_layer import LastLayerVariationalInference
from ._layers import BayesianLinear
from ._mlp import BayesByBackpropMLP
from ._posterior import GaussianPrior
from ._pruned import PrunedLinear
from ._saving_describe import PARTS, REGRESSORS
from ._saving_likelihood import take_likelihood
from ._saving_node import CLASS, OWN, Node, Path, Settings, as_node, dotted

_META = "meta"  # device of tensors without values


def build(value: Any, path: Path = ()) -> nn.Module:
    """Build the module of a node, on torch's device ``meta``.

    Raises:
        ValueError: a class or a setting that this package does not have, or a part whose class is the caller's own.
        TypeError: a setting of the wrong type.
    """
    node = as_node(value, path, frozenset({*_BUILDERS, OWN}))
    if node[CLASS] == OWN:
        what = f"a model with {dotted(path)!r}, of the class {node.get('name')!r}"
        raise ValueError(fault("like=", f"to be {what}, because a file holds no code", None))
    return _BUILDERS[node[CLASS]](node, path)


def _build_layer(node: Node, path: Path) -> BayesianLinear:
    names = ("in_features", "out_features", "use_bias", "prior", "estimator", "param_dtype", "dtype", "prune_mask")
    settings = Settings(node, path, *names)
    settings.one_of("use_bias", True)
    # Local reparameterization is a way to train. Predictions draw weights, in JAX too, as layers of torch always do.
    settings.one_of("estimator", "weight_sampling", "local_reparameterization")
    settings.one_of("dtype", None)
    sizes = settings.size("in_features"), settings.size("out_features")
    kind = PrunedLinear if settings.flag("prune_mask") else BayesianLinear
    prior = _build_prior(settings.node_at("prior", "GaussianPrior"), (*path, "prior"))
    return kind(*sizes, prior.sigma, prior.mu, device=_META, dtype=settings.dtype("param_dtype"))


def _build_prior(node: Node, path: Path) -> GaussianPrior:
    settings = Settings(node, path, "mu", "sigma")
    return GaussianPrior(settings.number("mu"), settings.positive("sigma"))


def _build_mlp(node: Node, path: Path) -> BayesByBackpropMLP:
    settings, layers, activation = _parts_of_network(node, path)
    sizes = settings.size("input_dim"), settings.sizes("hidden_dims"), settings.size("output_dim")
    first = layers[0].prior
    model = BayesByBackpropMLP(*sizes, first.sigma, first.mu, activation or "relu", device=_META)
    for i, layer in enumerate(_fitting(layers, model.bayesian_layers(), path)):
        model.layers[2 * i] = layer
    take_likelihood(model, node["likelihood"], path)
    return model


def _build_regressor(node: Node, path: Path) -> nn.Module:
    settings, layers, activation = _parts_of_network(node, path)
    model = REGRESSORS[node[CLASS]](  # type: ignore[call-arg]  # their constructors take these keywords
        input_dim=settings.size("input_dim"),
        output_dim=settings.size("output_dim"),
        hidden_dims=settings.sizes("hidden_dims"),
        prior_mu=layers[0].prior.mu,
        prior_sigma=layers[0].prior.sigma,
        activation=activation or "tanh",
        device=_META,
        dtype=layers[-1].weight_posterior.mu.dtype,
    )
    *hidden, model.output_layer = _fitting(layers, model.bayesian_layers(), path)
    model.hidden_layers = nn.ModuleList(hidden)
    take_likelihood(model, node["likelihood"], path)
    return model


def _parts_of_network(node: Node, path: Path) -> tuple[Settings, list[BayesianLinear], str | None]:
    """Return the settings, layers and activation of a network."""
    names = ("input_dim", "output_dim", "hidden_dims", "activation", "likelihood", "layers")
    settings = Settings(node, path, *names)
    hidden = settings.sizes("hidden_dims")
    nodes = settings.nodes("layers")
    if len(nodes) != len(hidden) + 1:
        raise ValueError(fault(f"the layers of {dotted(path)!r}", f"to be {len(hidden) + 1}", len(nodes)))
    paths = [(*path, "layers", str(i)) for i in range(len(nodes))]
    layers = [_build_layer(as_node(n, p, ("BayesianLinear",)), p) for n, p in zip(nodes, paths, strict=True)]
    known = ACTIVATION_NAMES.values() if hidden else (None,)
    return settings, layers, settings.one_of("activation", *known)


def _fitting(layers: list[BayesianLinear], wanted: list[BayesianLinear], path: Path) -> list[BayesianLinear]:
    """Require layers whose sizes are those of the model."""
    own, other = ([(layer.in_features, layer.out_features) for layer in each] for each in (layers, wanted))
    if own != other:
        raise ValueError(fault(f"the layers of {dotted(path)!r}", f"to have the sizes {other}", own))
    return layers


def _build_last_layer(node: Node, path: Path) -> LastLayerVariationalInference:
    names = ("feature_dim", "output_dim", "task", "heteroscedastic", "frozen", "likelihood")
    settings = Settings(node, path, *names, "feature_extractor", "head")
    task = settings.one_of("task", "regression", "classification")
    heteroscedastic = settings.one_of("heteroscedastic", False, *([True] if task == "regression" else []))
    extractor = build(settings.node_at("feature_extractor", *PARTS), (*path, "feature_extractor"))
    if settings.flag("frozen"):
        extractor.requires_grad_(False)
    head = _build_layer(settings.node_at("head", "BayesianLinear"), (*path, "head"))
    sizes = settings.size("feature_dim"), settings.size("output_dim")
    prior = head.prior.mu, head.prior.sigma
    model = LastLayerVariationalInference(extractor, *sizes, task, heteroscedastic, *prior, device=_META)
    [model.head] = _fitting([head], [model.head], (*path, "head"))
    take_likelihood(model, node["likelihood"], path)
    return model


def _build_stack(node: Node, path: Path) -> nn.Sequential:
    members = [
        build(as_node(member, (*path, str(i)), PARTS), (*path, str(i)))
        for i, member in enumerate(Settings(node, path, "members").nodes("members"))
    ]
    return nn.Sequential(*members)


def _build_linear(node: Node, path: Path) -> nn.Linear:
    settings = Settings(node, path, "in_features", "out_features", "use_bias", "param_dtype", "dtype")
    settings.one_of("dtype", None)
    sizes = settings.size("in_features"), settings.size("out_features")
    return nn.Linear(*sizes, settings.flag("use_bias"), device=_META, dtype=settings.dtype("param_dtype"))


def _build_activation(node: Node, path: Path) -> nn.Module:
    return activation_module(Settings(node, path, "name").one_of("name", *ACTIVATION_NAMES.values()))


_BUILDERS: dict[str, Callable[[Node, Path], nn.Module]] = {
    "BayesianLinear": _build_layer,
    "BayesByBackpropMLP": _build_mlp,
    **dict.fromkeys(REGRESSORS, _build_regressor),
    "LastLayerVariationalInference": _build_last_layer,
    "Stack": _build_stack,
    "Linear": _build_linear,
    "Activation": _build_activation,
    "function": _build_activation,
}
