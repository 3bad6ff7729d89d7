"""Priors whose numbers do not recompile, and posteriors as priors."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import jax.numpy as jnp
from jax import Array

from deepuq_jax.model.structure import combine, partition
from deepuq_jax.functional.gaussian import sigma_from_rho
from deepuq_jax.priors import EmpiricalGaussianPrior, GaussianPrior, LaplacePrior, ScaleMixturePrior, StudentTPrior
from deepuq_jax.priors.base import PriorRule, is_prior

_WITH_NUMBERS = (GaussianPrior, EmpiricalGaussianPrior, LaplacePrior, ScaleMixturePrior, StudentTPrior)


def traced(prior: Any) -> Any:
    """Put the numbers of a prior into arrays.

    Arrays are leaves, so networks whose priors differ in their scales share compiled programs.

    Args:
        prior: a prior, a rule, or None, which stays None.

    >>> rule = traced(GaussianPrior(sigma=0.5))
    >>> rule("kernel", jnp.zeros((3, 2))).sigma
    Array(0.5, dtype=float32)
    """
    if prior is None or isinstance(prior, type):
        return prior

    def rule(path: str, leaf: Array) -> Any:
        found = prior if is_prior(prior) else prior(path, leaf)
        if not isinstance(found, _WITH_NUMBERS):
            return found
        names = [field.name for field in fields(found)]
        return found.unchecked(**{name: jnp.asarray(getattr(found, name), jnp.result_type(float)) for name in names})

    return rule if callable(prior) or is_prior(prior) else prior


def posterior_as_prior(network: Any) -> PriorRule:
    """Return the rule that gives each weight its posterior as its prior.

    Args:
        network: a trained network of `_networks`.

    >>> from deepuq_jax import BayesianLinear
    >>> from flax import nnx
    >>> rule = posterior_as_prior(BayesianLinear(3, 2, sigma_init=0.25, rngs=nnx.Rngs(0)))
    >>> rule("bias", jnp.zeros(2)).sigma
    Array([0.25, 0.25], dtype=float32)
    """
    params, _ = partition(network)

    def rule(path: str, leaf: Array) -> GaussianPrior:
        del leaf
        return GaussianPrior(params[f"{path}_posterior.mu"], sigma_from_rho(params[f"{path}_posterior.rho"]))

    return rule


def starting_at(network: Any, earlier: Any) -> Any:
    """Return a network with the trained parameters of an earlier one.

    Parameters that the earlier network does not have, such as the scales of a learned prior, stay.
    """
    params, rest = partition(network)
    found, _ = partition(earlier)
    return combine({name: found.get(name, value) for name, value in params.items()}, rest)
