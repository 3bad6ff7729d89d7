"""Codecs of stacks, MLPs and regressors."""

from __future__ import annotations

import functools
from typing import Any

from flax import nnx

from deepuq_jax._checks import expected
from deepuq_jax.layers.activations import Activation
from deepuq_jax.layers.homoscedastic import HomoscedasticBayesByBackpropRegressor, LearnedNoise
from deepuq_jax.layers.linear import BayesianLinear
from deepuq_jax.layers.mlp import BayesByBackpropMLP
from deepuq_jax.layers.sequential import Sequential
from deepuq_jax.saving._builder import Node
from deepuq_jax.saving._codec import Codec, Describe, Part, Place, join
from deepuq_jax.saving._functions import activation, short_activation
from deepuq_jax.saving._registry import Registry, dtype_name


class SequentialCodec(Codec):
    """The codec of a stack of any members."""

    name = "Sequential"

    def describe(self, value: Sequential, path: str, describe: Describe) -> dict[str, Any]:
        """Describe likelihood and members."""
        return {
            "likelihood": describe(value.likelihood, join(path, "likelihood")),
            "members": [describe(member, join(path, f"layers.{i}")) for i, member in enumerate(value.layers)],
        }

    def build(self, node: Node) -> Sequential:
        """Build the members and the likelihood."""
        return Sequential(*node.list_of("members"), likelihood=node.build("likelihood"))

    def parts(self, value: Sequential) -> list[Part]:
        """List the members."""
        return [Part(one, f"layers.{i}", f"layers.{i}", ("members", i)) for i, one in enumerate(value.layers)]


class LearnedNoiseCodec(Codec):
    """The codec of a layer that appends noise parameters to its inputs.

    Args:
        kind: the class.
    """

    def __init__(self, kind: Any):
        self.kind = kind
        self.name = kind.__name__

    def describe(self, value: Any, path: str, describe: Describe) -> dict[str, Any]:
        """Describe the number of targets and the dtype."""
        array = value.raw_var if isinstance(value, LearnedNoise) else value.raw_scale
        return {"output_dim": value.output_dim, "param_dtype": dtype_name(array.dtype)}

    def build(self, node: Node) -> Any:
        """Call the constructor."""
        return self.kind(node["output_dim"], param_dtype=node.dtype("param_dtype"))


class MLPCodec(Codec):
    """The codec of an MLP of Bayesian layers and one activation.

    Args:
        kind: the class.
        is_later: whether the layers have the names of later releases, `hidden_layers.{i}` and `output_layer`.
        sets_likelihood: whether the constructor takes a likelihood.
    """

    def __init__(self, kind: type[BayesByBackpropMLP], *, is_later: bool, sets_likelihood: bool):
        self.kind = kind
        self.name = kind.__name__
        self._is_later = is_later
        self._sets_likelihood = sets_likelihood

    def describe(self, value: Any, path: str, describe: Describe) -> dict[str, Any]:
        """Describe sizes, activation, likelihood and layers."""
        layers, between = _layers_of(value), _activation_of(value)
        # If the outputs are the targets alone, the model does not keep their number.
        outputs = layers[-1].out_features if self._sets_likelihood else value.output_dim
        return {
            "input_dim": layers[0].in_features,
            "hidden_dims": [layer.out_features for layer in layers[:-1]],
            "output_dim": outputs,
            "activation": short_activation(describe(between, join(path, "activation"))),
            "likelihood": describe(value.likelihood, join(path, "likelihood")),
            "layers": [describe(part.value, join(path, part.name)) for part in self.parts(value)],
        }

    def build(self, node: Node) -> Any:
        """Build the network, then its layers in their places."""
        layers = node.list_of("layers")
        model = self._build_network(node, layers)
        own = [i for i, member in enumerate(model.layers) if isinstance(member, BayesianLinear)]
        if len(own) != len(layers):
            raise ValueError(expected("layers", f"to hold {len(own)} layers", f"{len(layers)}"))
        for i, layer in zip(own, layers, strict=True):
            if type(layer) is not BayesianLinear:
                raise ValueError(expected("layers", "to hold nodes of BayesianLinear", type(layer).__name__))
            model.layers[i] = layer
        return model

    def _build_network(self, node: Node, layers: list[Any]) -> Any:
        given = node["activation"]
        between = activation(given) if isinstance(given, str) else node.builder.value(given)
        build: Any = functools.partial(
            self.kind,
            input_dim=node["input_dim"],
            hidden_dims=node["hidden_dims"],
            output_dim=node["output_dim"],
            activation=Activation("relu") if between is None else between,
            rngs=nnx.Rngs(0),
        )
        likelihood = node.build("likelihood")
        if self._sets_likelihood:
            return build(likelihood=likelihood)
        # The learned noise has the dtype of the layers.
        return build(param_dtype=layers[-1].kernel_posterior.mu.dtype)

    def places(self, value: Any, registry: Registry) -> list[Place]:
        """Name the learned noise, a member of its own."""
        if not isinstance(value, HomoscedasticBayesByBackpropRegressor):
            return []
        return [Place(f"layers.{len(value.layers) - 1}.raw_var", "raw_var")]

    def parts(self, value: Any) -> list[Part]:
        """List the Bayesian layers."""
        layers = _layers_of(value)
        names = [f"layers.{2 * i}" for i in range(len(layers))]
        in_file = [*(f"hidden_layers.{i}" for i in range(len(layers) - 1)), "output_layer"] if self._is_later else names
        found = zip(layers, names, in_file, strict=True)
        return [Part(layer, name, other, ("layers", i)) for i, (layer, name, other) in enumerate(found)]


def _members_of(value: Any) -> list[Any]:
    members = list(value.layers)
    return members[:-1] if isinstance(value, HomoscedasticBayesByBackpropRegressor) else members


def _layers_of(value: Any) -> list[Any]:
    """Return the Bayesian layers of an MLP.

    Raises:
        ValueError: the members are no longer those of the constructor.
    """
    members = _members_of(value)
    activations = members[1::2]
    is_built = all(type(member) is BayesianLinear for member in members[::2])
    is_built &= len(members) % 2 == 1 and all(one == activations[0] for one in activations)
    if not is_built:
        what = f"with the members that {type(value).__name__} builds (a Sequential may hold others)"
        raise ValueError(expected("model", what, f"{[type(member).__name__ for member in members]}"))
    return members[::2]


def _activation_of(value: Any) -> Any:
    activations = _members_of(value)[1::2]
    return activations[0] if activations else None
