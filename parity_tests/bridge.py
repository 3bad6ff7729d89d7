"""Transfer of weights and noise between the two packages.

Weights cross in memory or through a file. The file format is numpy's ``.npz`` with the documented state-dict names, and
weights are ``[out, in]``:
``layers.{i}.weight_posterior.mu``, ``.rho``, ``layers.{i}.bias_posterior.mu``, ``.rho``. Regressors have
``hidden_layers.{i}.*`` and ``output_layer.*`` (and ``raw_var``, learned noise shared by all inputs), a last layer has
``head.*``. JAX kernels are ``[in, out]``, so they are transposed on the way.

Only posteriors and learned noise cross. The feature extractor of a last layer is the caller's own network. Priors and
activations have to be chosen alike: the default prior is N(0, 1) in JAX and the documented N(0, 0.1) in torch
(``prior=deepuq_jax.GaussianPrior()``), and the default activation of the regressors of later releases is relu in JAX
and the documented tanh in torch (``activation="tanh"``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from torch import Tensor

import deepuq_jax as dj
from deepuq_jax import BayesianLinear, GaussianPosterior
from deepuq_jax.model.variables import VariableTree

_NAME = re.compile(r"^(?P<layer>.*?)\.?(?P<posterior>weight|bias)_posterior\.(?P<part>mu|rho)$")
_EXTRACTOR = "feature_extractor."
# The classes of later releases.
_LATER = (
    dj.MultiOutputBayesByBackpropRegressor,
    dj.HeteroscedasticMultiOutputBayesByBackpropRegressor,
    dj.HomoscedasticBayesByBackpropRegressor,
)
# The name of learned noise, which is a parameter and has no posterior.
_NOISE = "raw_var"
_PARTS = tuple((posterior, part) for posterior in ("weight", "bias") for part in ("mu", "rho"))


def torch_to_jax(state_dict: Mapping[str, Any], model: Any) -> Any:
    """Copy a JAX model with a torch model's weights.

    Args:
        state_dict: state dict of a torch model, or the result of `load_npz`. The names of later releases
            (``hidden_layers.{i}``, ``output_layer``) are accepted too.
        model: a JAX model of the same shapes: a `BayesianLinear`, a stack of them, or a last layer, which keeps its
            feature extractor. It is not changed.
    Returns:
        A new model, whose weights have the dtypes of `model`.
    Raises:
        ValueError: a different number of layers, a missing or an unknown name, or a different shape.

    >>> import deepuq_jax as dj, deepuq_torch as dt
    >>> model = torch_to_jax(dt.BayesianLinear(3, 2).state_dict(), dj.BayesianLinear(3, 2, rngs=nnx.Rngs(0)))
    >>> float(model.kernel_posterior.rho[0, 0])
    -3.0
    """
    fresh = nnx.merge(*nnx.split(model))
    if isinstance(model, dj.LastLayerVariationalInference):
        state_dict = _without_extractor(state_dict)
    if isinstance(model, dj.HomoscedasticBayesByBackpropRegressor):
        state_dict = _take_noise(fresh, state_dict)
    own, given = [layer for _, layer in jax_layers(fresh)], _by_layer(state_dict)
    if len(own) != len(given):
        raise ValueError(f"Expected weights of {len(own)} Bayesian layers; got those of {len(given)}.")
    for layer, (name, parts) in zip(own, given.items(), strict=True):
        _fill(layer, name, parts)
    return fresh


def jax_to_torch(model: Any, like: torch.nn.Module | None = None) -> dict[str, Tensor]:
    """Make a torch state dict from a JAX model.

    Args:
        model: a `BayesianLinear`, a stack of them, or a last layer.
        like: a torch model that gives the names, if they differ from the names of the class of the same name.
    Returns:
        Tensors on the CPU, for ``load_state_dict``, or for `load_into_torch` if the model is a last layer.
    Raises:
        ValueError: a layer without a bias, or `like` with a different number of layers.
    """
    arrays = _jax_arrays(model)
    if like is not None:
        names = list(_by_layer(_posteriors_alone(like.state_dict())))
        given = _by_layer(_posteriors_alone(arrays))
        if len(names) != len(given):
            raise ValueError(f"Expected like to have {len(given)} Bayesian layers; got {len(names)}.")
        renamed = zip(names, given.values(), strict=True)
        noise = {name: values for name, values in arrays.items() if name == _NOISE}
        arrays = {_join(name, *part): values for name, parts in renamed for part, values in parts.items()} | noise
    return {name: torch.tensor(np.array(values)) for name, values in arrays.items()}


def save_npz(path: str | os.PathLike, weights: Any) -> None:
    """Write weights to a file.

    Args:
        path: of the file.
        weights: a JAX model, a torch module or a state dict.
    """
    if isinstance(weights, nnx.Module):
        arrays = _jax_arrays(weights)
    else:
        state = weights.state_dict() if isinstance(weights, torch.nn.Module) else weights
        arrays = {name: np.asarray(_to_numpy(value)) for name, value in state.items()}
    with open(path, "wb") as file:  # numpy would add .npz to a bare name
        np.savez(file, allow_pickle=False, **arrays)


def load_npz(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read a file of `save_npz`, for `torch_to_jax` or `load_into_torch`."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def load_into_torch(arrays: Mapping[str, Any], model: torch.nn.Module) -> torch.nn.Module:
    """Load weights into a torch model, and return the model.

    The weights come from `load_npz` or `jax_to_torch`. A feature extractor keeps its own if the arrays do not name it.
    """
    state = {name: torch.tensor(np.asarray(_to_numpy(value))) for name, value in arrays.items()}
    extractor = {name: value for name, value in model.state_dict().items() if name.startswith(_EXTRACTOR)}
    model.load_state_dict(extractor | state)
    return model


def noise_to_jax(noise: Any) -> Any:
    """Convert noise of a torch model for a JAX model.

    Leading axes of draws stay in front.

    Args:
        noise: a pair ``(eps_weight, eps_bias)`` of a layer or a last layer, or a tuple of pairs, one per layer.
    """
    if isinstance(noise[0], (tuple, list)):
        return tuple(noise_to_jax(layer) for layer in noise)
    weight, bias = (jnp.asarray(_to_numpy(part)) for part in noise)
    return {"kernel": jnp.swapaxes(weight, -1, -2), "bias": bias}


def noise_to_torch(noise: Any) -> Any:
    """Convert noise of a JAX model for a torch model."""
    if not isinstance(noise, Mapping):
        return tuple(noise_to_torch(layer) for layer in noise)
    kernel = np.swapaxes(np.asarray(noise["kernel"]), -1, -2).copy()
    return torch.tensor(kernel), torch.tensor(np.array(noise["bias"]))


def jax_layers(model: Any) -> list[tuple[str, BayesianLinear]]:
    """List the Bayesian layers and documented names of a JAX model."""
    if isinstance(model, BayesianLinear):
        return [("", model)]
    if isinstance(model, dj.LastLayerVariationalInference):
        return [("head", model.head)]
    members: list[Any] = list(getattr(model, "layers", ()))
    layers = [(f"layers.{i}", member) for i, member in enumerate(members) if isinstance(member, BayesianLinear)]
    if isinstance(model, _LATER):
        names = [*(f"hidden_layers.{i}" for i in range(len(layers) - 1)), "output_layer"]
        return [(name, layer) for name, (_, layer) in zip(names, layers, strict=True)]
    return layers


def torch_layers(model: torch.nn.Module) -> list[Any]:
    """List the Bayesian layers of a torch model, in order."""
    return [module for module in model.modules() if hasattr(module, "weight_posterior")]


def _without_extractor(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state_dict.items() if not name.startswith(_EXTRACTOR)}


def _posteriors_alone(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in _without_extractor(state_dict).items() if name != _NOISE}


def _take_noise(model: dj.HomoscedasticBayesByBackpropRegressor, state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Put learned noise into the model; return the other weights."""
    if _NOISE not in state_dict:
        raise ValueError(f"Expected {_NOISE} among the weights; got none.")
    variable = model.layers[-1].raw_var
    raw_var = jnp.asarray(_to_numpy(state_dict[_NOISE]), variable.dtype)
    if raw_var.shape != variable.shape:
        raise ValueError(f"Expected {_NOISE} of shape {variable.shape}; got {raw_var.shape}.")
    model.layers[-1].raw_var = nnx.Param(raw_var)
    return {name: value for name, value in state_dict.items() if name != _NOISE}


def _to_numpy(value: Any) -> Any:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value


def _join(layer: str, posterior: str, part: str) -> str:
    return f"{layer}.{posterior}_posterior.{part}".lstrip(".")


def _order(layer: str) -> tuple[bool, list[int]]:
    """Sort key: hidden layers by their number, then ``output_layer``."""
    return layer.endswith("output_layer"), [int(number) for number in re.findall(r"\d+", layer)]


def _by_layer(arrays: Mapping[str, Any]) -> dict[str, dict[tuple[str, str], Any]]:
    """Group arrays by layer, in the order of the network.

    Returns:
        {layer name: {("weight", "mu"): array, ...}}.
    """
    layers: dict[str, dict[tuple[str, str], Any]] = {}
    for name, values in arrays.items():
        found = _NAME.match(name)
        if found is None:
            raise ValueError(f"Expected names like layers.0.weight_posterior.mu; got {name!r}.")
        layers.setdefault(found["layer"], {})[found["posterior"], found["part"]] = values
    for layer, parts in layers.items():
        for part in _PARTS:
            if part not in parts:
                raise ValueError(f"Expected {_join(layer, *part)} among the weights; got none.")
    return {layer: layers[layer] for layer in sorted(layers, key=_order)}


def _fill(layer: BayesianLinear, name: str, parts: Mapping[tuple[str, str], Any]) -> None:
    for posterior, attribute in (("weight", "kernel_posterior"), ("bias", "bias_posterior")):
        variable = getattr(layer, attribute)
        if variable is None:
            raise ValueError(f"Expected each layer to have a bias; got {name!r} without one.")
        like = variable.get_value().mu
        mu, rho = (jnp.asarray(_to_numpy(parts[posterior, part]), like.dtype) for part in ("mu", "rho"))
        if posterior == "weight":
            mu, rho = mu.T, rho.T
        if not mu.shape == rho.shape == like.shape:
            raise ValueError(f"Expected {attribute} of {name!r} of shape {like.shape}; got {mu.shape}, {rho.shape}.")
        setattr(layer, attribute, VariableTree(GaussianPosterior(mu, rho), nnx.Param))


def _jax_arrays(model: Any) -> dict[str, np.ndarray]:
    """Return the weights under documented names, in the documented layout."""
    arrays = {}
    for name, layer in jax_layers(model):
        if layer.bias_posterior is None:
            raise ValueError(f"Expected each layer to have a bias; got {name!r} without one.")
        kernel, bias = layer.kernel_posterior.get_value(), layer.bias_posterior.get_value()
        for part in ("mu", "rho"):
            arrays[_join(name, "weight", part)] = np.asarray(getattr(kernel, part)).T
            arrays[_join(name, "bias", part)] = np.asarray(getattr(bias, part))
    if isinstance(model, dj.HomoscedasticBayesByBackpropRegressor):
        arrays[_NOISE] = np.asarray(model.layers[-1].raw_var[...])
    return arrays
