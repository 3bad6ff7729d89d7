"""Weights and noise in the layout of the other package.

The cases differentiate with respect to the weights, so these go from model to model as arrays and not through a file.
Weights are ``[out, in]`` in torch, and kernels ``[in, out]`` in JAX.
"""

from __future__ import annotations

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


def with_weights(model: Any, weights: Mapping[str, Any]) -> Any:
    """Copy a JAX model, with other weights.

    Args:
        model: a `BayesianLinear`, a stack of such layers, or a last layer. The model is not changed.
        weights: arrays or tensors, keyed by their documented names ``layers.{2 i}.weight_posterior.mu`` and so on; for
            a single layer, the names have no ``layers.{2 i}``. A model with learned noise also needs ``raw_var``.
    Returns:
        A new model.
    Raises:
        KeyError: weights are missing. ValueError: the shapes differ, or there are further weights.

    >>> import deepuq_jax as dj, deepuq_torch as dt
    >>> model = with_weights(dj.BayesianLinear(3, 2, rngs=nnx.Rngs(0)), dt.BayesianLinear(3, 2).state_dict())
    >>> float(model.kernel_posterior.rho[0, 0])
    -3.0
    """
    fresh, left = nnx.merge(*nnx.split(model)), dict(weights)
    for i, layer in enumerate(jax_layers(fresh)):
        prefix = "" if layer is fresh else f"layers.{2 * i}."
        for posterior, attribute in (("weight", "kernel_posterior"), ("bias", "bias_posterior")):
            mu, rho = (_to_jax(left.pop(f"{prefix}{posterior}_posterior.{part}")).T for part in ("mu", "rho"))
            _need_shape(attribute, getattr(layer, attribute).mu, mu)
            setattr(layer, attribute, VariableTree(GaussianPosterior(mu, rho), nnx.Param))
    if isinstance(fresh, dj.HomoscedasticBayesByBackpropRegressor):
        fresh.layers[-1].raw_var = nnx.Param(_to_jax(left.pop("raw_var")))
    if left:
        raise ValueError(f"Expected weights of the model alone; got {', '.join(left)} too.")
    return fresh


def noise_to_jax(noise: Any) -> Any:
    """Convert noise of a torch model for a JAX model.

    Leading axes, such as one of draws, are kept.

    Args:
        noise: a pair ``(eps_weight, eps_bias)`` of a layer or a last layer, or a tuple of pairs, one per layer.
    """
    if isinstance(noise[0], (tuple, list)):
        return tuple(noise_to_jax(layer) for layer in noise)
    weight, bias = map(_to_jax, noise)
    return {"kernel": jnp.swapaxes(weight, -1, -2), "bias": bias}


def noise_to_torch(noise: Any) -> Any:
    """Convert noise of a JAX model for a torch model."""
    if not isinstance(noise, Mapping):
        return tuple(noise_to_torch(layer) for layer in noise)
    kernel = np.swapaxes(np.asarray(noise["kernel"]), -1, -2).copy()
    return torch.tensor(kernel), torch.tensor(np.array(noise["bias"]))


def jax_layers(model: Any) -> list[BayesianLinear]:
    """List the Bayesian layers of a JAX model, in order."""
    if isinstance(model, BayesianLinear):
        return [model]
    if isinstance(model, dj.LastLayerVariationalInference):
        return [model.head]
    return [member for member in model.layers if isinstance(member, BayesianLinear)]


def torch_layers(model: torch.nn.Module) -> list[Any]:
    """List the Bayesian layers of a torch model, in order."""
    return [module for module in model.modules() if hasattr(module, "weight_posterior")]


def _to_jax(value: Any) -> Any:
    return jnp.asarray(value.detach().cpu().numpy() if isinstance(value, Tensor) else value)


def _need_shape(name: str, own: Any, given: Any) -> None:
    if given.shape != own.shape:
        raise ValueError(f"Expected {name} of shape {own.shape}; got {given.shape}.")
