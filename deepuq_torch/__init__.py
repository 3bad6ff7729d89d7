"""Bayesian neural networks in PyTorch by variational inference.

The method is Bayes by Backprop, https://arxiv.org/abs/1505.05424. The package can replace ``deepuq.methods.vi`` of
Deep-UQ: wherever a docstring here says "documented", it refers to the documentation of Deep-UQ.
"""

from . import functional, methods
from ._checkpoint import to_later_layout
from ._natural_gradient import NaturalGradient
from ._saving import load, read_metadata, save
from ._version import __version__ as __version__
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
