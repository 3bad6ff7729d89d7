"""Options that a model passes to its layers."""

from __future__ import annotations

from typing import Any, TypedDict

from flax import nnx

from deepuq_jax.estimators.base import Estimator
from deepuq_jax.estimators.local_reparameterization import local_reparameterization
from deepuq_jax.priors.base import Prior, PriorRule
from deepuq_jax.priors.defaults import LayerDefault


class LayerOptions(TypedDict, total=False):
    """Keyword arguments that models pass to their layers.

    Meaning and defaults are as in `BayesianLinear`.
    """

    prior: Prior | PriorRule | LayerDefault
    estimator: Estimator
    kernel_init: nnx.Initializer
    sigma_init: float
    param_dtype: Any
    dtype: Any


# Options of the regressors with learned noise, unless others are given. The noise of few draws of the weights is too
# large for the natural gradients by which `fit` trains these regressors.
REGRESSION_DEFAULTS = LayerOptions(estimator=local_reparameterization)
