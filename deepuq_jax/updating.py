"""Bayesian updating: the posterior of a model as the prior of the next.

Source: Nguyen, Li, Bui & Turner 2018, Variational Continual Learning, arXiv 1710.10628, without coresets.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from flax import nnx

from deepuq_jax._checks import expected, is_concrete
from deepuq_jax._paths import dotted
from deepuq_jax.functional.gaussian import sigma_from_rho
from deepuq_jax.model.base import BaseModel
from deepuq_jax.model.own import check_model
from deepuq_jax.model.owners import join_paths, means_of, parameter_name, posteriors_of, weight_owners
from deepuq_jax.model.state import with_streams
from deepuq_jax.model.structure import is_module
from deepuq_jax.model.variables import VariableTree, hold_prior
from deepuq_jax.posterior import MeanField
from deepuq_jax.priors.base import Prior, PriorRule
from deepuq_jax.priors.defaults import LAYER_PRIOR, LayerDefault
from deepuq_jax.priors.gaussian import GaussianPrior
from deepuq_jax.priors.rules import PosteriorRule, below


def as_prior(model: Any) -> PosteriorRule:
    """Make a model's posterior the prior of the next.

    p_next(w) = N(w; mu, sigma^2), with the mu and the sigma of each weight's posterior

    If the first model has learned from data A and the next model learns from B, the posterior of the next model
    approximates the posterior given A and B. With exact posteriors the two would be equal, as in linear regression with
    an orthogonal design.

    To continue with the same model, use `with_prior(model, as_prior(model))`. A new model,
    `BayesByBackpropMLP(..., prior=as_prior(model))`, starts at its own initial weights. Train the next model with
    `fit(..., objective=ELBO())`: under Adam, the KL weight of the default objective starts at 0, which ignores the
    prior.

    Args:
        model: a Bayesian model with mean-field posteriors. For pruned weights, the prior is the posterior that they had
            before.
    Returns:
        A rule for the argument `prior` of a model with the same paths and shapes. It refuses any other parameter by
        name and shape.
    Raises:
        TypeError: `model` is not a Bayesian model. ValueError: it has no mean-field posterior, or a posterior that is
            not finite.

    >>> import jax.numpy as jnp
    >>> import deepuq_jax as dq
    >>> first = dq.BayesByBackpropMLP(2, (4,), 1, rngs=nnx.Rngs(0))
    >>> second = dq.BayesByBackpropMLP(2, (4,), 1, prior=as_prior(first), rngs=nnx.Rngs(1))
    >>> bool((second.layers[0].prior.priors[1].mu == first.layers[0].kernel_posterior.mu).all())
    True
    """
    check_model(model)
    priors: dict[str, GaussianPrior] = {}
    for path, owner in weight_owners(model):
        for name, posterior in posteriors_of(owner).items():
            priors |= _priors_of(join_paths(path, parameter_name(name)), posterior)
    if not priors:
        what = "to have a mean-field posterior with a prior beside it"
        raise ValueError(expected("model", what, type(model).__name__))
    return PosteriorRule(priors)


def _priors_of(path: str, posterior: MeanField) -> dict[str, GaussianPrior]:
    found = {}
    means = jax.tree_util.tree_leaves_with_path(posterior.mu)
    for (key, mu), rho in zip(means, jax.tree.leaves(posterior.rho), strict=True):
        name = join_paths(path, dotted(key))
        if not all(np.isfinite(part).all() for part in (mu, rho) if is_concrete(part)):
            raise ValueError(expected(f"the posterior at {name}", "to be finite", "NaN or infinity"))
        found[name] = GaussianPrior(mu, sigma_from_rho(rho))
    return found


def with_prior(model: Any, prior: Prior | PriorRule | LayerDefault) -> Any:
    """Copy a model with another prior.

    Posteriors, carried state and weights without a posterior stay as they are, so training can go on from there.

    Args:
        model: a model of layers of this package, or a model made by `bayesianize`.
        prior: a prior for every weight, or a rule (path, means) -> prior for the paths of the whole model, such as
            `as_prior` or `by_path` returns. It replaces learned priors, and in a model of `moped` the centre.
    Returns:
        A model of the same kind.
    Raises:
        TypeError: `model` is not a Bayesian model, or `prior` is neither a prior nor a rule.
        ValueError: the model has no posterior, a posterior belongs to a class of the caller's own, the rule refuses a
            parameter, or a `LayerDefault` meets a posterior that is not a layer's.

    >>> import deepuq_jax as dq
    >>> model = dq.BayesByBackpropMLP(2, (4,), 1, rngs=nnx.Rngs(0))
    >>> bool(abs(with_prior(model, as_prior(model)).kl()) < 1e-6)
    True
    """
    check_model(model)
    copy = jax.tree.map(_own, model, is_leaf=is_module)
    owners = list(weight_owners(copy))
    if not owners:
        what = "to have a mean-field posterior with a prior beside it"
        raise ValueError(expected("model", what, type(model).__name__))
    for path, owner in owners:
        if isinstance(prior, LayerDefault):
            shape = _kernel_shape(owner)
            if shape is None:
                what = "to belong to layers, whose kernels show their number of inputs"
                raise ValueError(
                    expected("the posteriors of the model", what, f"another posterior at {path or 'its root'!r}")
                )
            _set_prior(owner, prior.of_kernel(shape))
        else:
            _set_prior(owner, below(prior, path) if path else prior)
    return copy


def has_default_prior(model: Any) -> bool:
    """Whether all posteriors belong to layers with their default prior."""
    owners = [owner for _, owner in weight_owners(model)]
    return bool(owners) and all(_is_default(owner) for owner in owners)


def _is_default(owner: Any) -> bool:
    shape = _kernel_shape(owner)
    return shape is not None and owner.prior == LAYER_PRIOR.of_kernel(shape)


def _kernel_shape(owner: Any) -> tuple[int, ...] | None:
    """Return the shape of a layer's kernel; None for an owner that is not a layer."""
    posterior = posteriors_of(owner).get("kernel_posterior")
    return None if posterior is None else posterior.mu.shape


def _set_prior(owner: Any, prior: Any) -> None:
    if not (isinstance(owner, BaseModel) and isinstance(owner, nnx.Module)):
        what = "to be a layer of deepuq_jax or made by bayesianize for with_prior"
        raise ValueError(expected("every part of the model with a posterior", what, type(owner).__name__))
    held = hold_prior(prior, means_of(owner))
    layer: Any = owner
    layer.prior = nnx.data(held) if isinstance(held, VariableTree) else held
    if "centre" in vars(layer):
        layer.centre = nnx.static(None)


def _own(node: Any) -> Any:
    return with_streams(node, None) if isinstance(node, nnx.Module) else node
