"""Priors that share a compiled program, and networks that start at an earlier fit."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import expected
from deepuq_jax.model.held_scales import combine
from deepuq_jax.model.structure import partition
from deepuq_jax.priors import EmpiricalGaussianPrior, GaussianPrior, LaplacePrior, ScaleMixturePrior, StudentTPrior
from deepuq_jax.priors.base import is_prior

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


def starting_at(network: Any, earlier: Any) -> Any:
    """Return a network with the trained parameters of an earlier network.

    Parameters that the earlier network does not have, such as the scales of a learned prior, stay.

    Raises:
        ValueError: a parameter has another shape.
    """
    params, rest = partition(network)
    found, _ = partition(earlier)
    kept = {name: found.get(name, value) for name, value in params.items()}
    for name, value in params.items():
        if kept[name].shape != value.shape:
            what = f"to have the shape of the last fit, {list(kept[name].shape)}; refit without warm_start"
            raise ValueError(expected(f"the parameter {name!r}", what, value))
    return combine(kept, rest)
