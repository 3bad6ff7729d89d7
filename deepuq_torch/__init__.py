"""Bayesian neural networks in PyTorch by variational inference.

The method is Bayes by Backprop, https://arxiv.org/abs/1505.05424.
"""

from . import functional, methods
from ._checkpoint import to_later_layout
from ._natural_gradient import NaturalGradient
from ._saving import load, read_metadata, save
from .methods.vi import (
    BayesByBackpropMLP,
    BayesByBackpropRegressor,
    BayesianLinear,
    GaussianPosterior,
    GaussianPrior,
    HeteroscedasticBayesByBackpropRegressor,
    HeteroscedasticMultiOutputBayesByBackpropRegressor,
    HomoscedasticBayesByBackpropRegressor,
    LastLayerVariationalInference,
    MultiOutputBayesByBackpropRegressor,
    negative_elbo,
    predict_vi_uq,
    vi_elbo_step,
)
from .types import UQResult

# The number of the whole distribution, which deepuq_jax/_version.py holds too; a test compares them. It is written here
# because importing deepuq_jax would import JAX, and the metadata of an editable install may be out of date.
__version__ = "0.2.0.dev0"

__all__ = [
    "BayesByBackpropMLP",
    "BayesByBackpropRegressor",
    "BayesianLinear",
    "GaussianPosterior",
    "GaussianPrior",
    "HeteroscedasticBayesByBackpropRegressor",
    "HeteroscedasticMultiOutputBayesByBackpropRegressor",
    "HomoscedasticBayesByBackpropRegressor",
    "LastLayerVariationalInference",
    "MultiOutputBayesByBackpropRegressor",
    "NaturalGradient",
    "UQResult",
    "functional",
    "load",
    "methods",
    "negative_elbo",
    "predict_vi_uq",
    "read_metadata",
    "save",
    "to_later_layout",
    "vi_elbo_step",
]
