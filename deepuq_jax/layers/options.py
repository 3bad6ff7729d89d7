"""What a model hands on to its Bayesian layers."""

from __future__ import annotations

from typing import Any, TypedDict

from flax import nnx

from deepuq_jax.estimators.base import Estimator
from deepuq_jax.priors.base import Prior, PriorRule


class LayerOptions(TypedDict, total=False):
    """Keywords of `BayesianLinear` that every model of such layers takes; the defaults are that layer's."""

    prior: Prior | PriorRule
    estimator: Estimator
    kernel_init: nnx.Initializer
    sigma_init: float
    param_dtype: Any
    dtype: Any
