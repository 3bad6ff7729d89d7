"""Posteriors as the parameters of a guide of NumPyro, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from deepuq_jax._arguments import check_instance
from deepuq_jax._checks import check_positive, check_real, expected
from deepuq_jax._paths import dotted
from deepuq_jax.diagnostics.weights import weight_tensors
from deepuq_jax.functional.gaussian import rho_from_sigma, sigma_from_rho
from deepuq_jax.model.held_scales import combine
from deepuq_jax.model.own import check_model
from deepuq_jax.model.owners import join_paths, posteriors_of, weight_owners
from deepuq_jax.model.structure import partition


def to_numpyro(model: Any, *, scope: str = "", prefix: str = "auto") -> dict[str, Array]:
    """Return posteriors as parameters of NumPyro's `AutoNormal`.

    Training of the guide can start from them, as in `svi.init(key, *data, init_params=to_numpyro(model))`. The sites of
    the NumPyro model are the weights, whose support is the real line. NumPyro itself is not needed.

    Args:
        model: a Bayesian model with mean-field posteriors, none of them pruned.
        scope: the text before the path of a weight in the name of its site. The sites of
            `random_nnx_module("net", module, prior)` have the scope "net/".
        prefix: the prefix of the guide.
    Returns:
        For each weight tensor, such as "layers.0.kernel", the arrays "layers.0.kernel_auto_loc", the mean, and
        "layers.0.kernel_auto_scale", the standard deviation. Other trained parameters, such as learned noise, are left
        out.
    Raises:
        TypeError: `model` is not a Bayesian model, or an argument is not a string. ValueError: the model is pruned, or
            has no mean-field posterior, or a posterior that is not finite.

    >>> from flax import nnx
    >>> from deepuq_jax import BayesianLinear
    >>> {name: array.shape for name, array in to_numpyro(BayesianLinear(3, 2, rngs=nnx.Rngs(0))).items()}
    {'kernel_auto_loc': (3, 2), 'kernel_auto_scale': (3, 2), 'bias_auto_loc': (2,), 'bias_auto_scale': (2,)}
    """
    params = {}
    for weights in _all_weights(model):
        loc, scale = _names(weights.path, scope, prefix)
        params |= {loc: weights.mu, scale: sigma_from_rho(weights.rho)}
    return params


def from_numpyro(model: Any, params: Mapping[str, Any], *, scope: str = "", prefix: str = "auto") -> Any:
    """Copy a model with the posteriors of NumPyro's `AutoNormal`.

    Args:
        model: a Bayesian model with mean-field posteriors, none of them pruned. Its prior, its likelihood and all
            other parts stay as they are.
        params: the parameters of the guide, such as `svi.get_params(state)`. A `numpyro.param` of the NumPyro model,
            which is not a site of the guide, is ignored.
        scope, prefix: as in `to_numpyro`.
    Returns:
        A model of the same kind.
    Raises:
        TypeError: `model` is not a Bayesian model, or `params` is not a mapping to real arrays. ValueError: `params`
            lacks a weight, holds another site, or has an array that is not finite or of another shape.

    >>> from flax import nnx
    >>> from deepuq_jax import BayesianLinear
    >>> model = BayesianLinear(3, 2, rngs=nnx.Rngs(0))
    >>> params = to_numpyro(model) | {"bias_auto_loc": jnp.array([1.0, 2.0])}
    >>> from_numpyro(model, params)(jnp.zeros((1, 3)))
    Array([[1., 2.]], dtype=float32)
    """
    check_instance("params", params, Mapping, "to be a mapping, such as svi.get_params(state)")
    found: dict[str, Array] = {}
    names: list[str] = []
    for weights in _all_weights(model):
        loc, scale = _names(weights.path, scope, prefix)
        names += [loc, scale]
        if loc in params and scale in params:
            found[weights.mu_place] = _checked(loc, params[loc], weights.mu)
            check_positive(scale, params[scale])
            found[weights.rho_place] = rho_from_sigma(_checked(scale, params[scale], weights.rho))
    if missing := [name for name in names if name not in params]:
        raise ValueError(expected("params", f"to have {missing[0]}", ", ".join(params) or "none"))
    endings = _names("", "", prefix)
    if others := [name for name in params if name.endswith(endings) and name not in names]:
        what = "to hold the sites of the model's weights alone; leave the other sites out"
        raise ValueError(expected("params", what, ", ".join(others)))
    trained, rest = partition(model)
    trained = jax.tree_util.tree_map_with_path(lambda path, leaf: found.pop(dotted(path), leaf), trained)
    if found:
        raise ValueError(expected("every posterior of the model", "to be trained", f"a frozen one at {min(found)}"))
    return combine(trained, rest)


class _Weights(NamedTuple):
    """The posterior of a tensor.

    Attributes:
        path: dotted path of the weights in the model.
        mu_place, rho_place: dotted paths of the two arrays in what `partition` returns.
        mu, rho: the arrays.
    """

    path: str
    mu_place: str
    rho_place: str
    mu: Array
    rho: Array


def _all_weights(model: Any) -> list[_Weights]:
    check_model(model)
    tensors = weight_tensors(model)
    if pruned := [tensor.path for tensor in tensors if tensor.mask is not None]:
        raise ValueError(expected("model", "to have no pruned weights, whose scale is 0", f"some at {pruned[0]}"))
    places = [
        (join_paths(path, name, "mu", dotted(key)), join_paths(path, name, "rho", dotted(key)))
        for path, owner in weight_owners(model)
        for name, posterior in posteriors_of(owner).items()
        for key, _ in jax.tree_util.tree_leaves_with_path(posterior.mu)
    ]
    pairs = zip(tensors, places, strict=True)
    return [_Weights(tensor.path, *places, tensor.mu, tensor.rho) for tensor, places in pairs]


def _names(path: str, scope: str, prefix: str) -> tuple[str, str]:
    """Return the names of location and scale in an `AutoNormal`."""
    check_instance("scope", scope, str, 'to be a string, such as "net/"')
    check_instance("prefix", prefix, str, "to be a string, the prefix of the guide")
    return f"{scope}{path}_{prefix}_loc", f"{scope}{path}_{prefix}_scale"


def _checked(name: str, value: Any, like: Array) -> Array:
    """Return a finite array of the shape and the dtype of another one."""
    values = np.asarray(check_real(name, value))
    if values.shape != like.shape or not np.isfinite(values).all():
        raise ValueError(expected(name, f"to be finite and of shape {list(like.shape)}", value))
    return jnp.asarray(values, like.dtype)
