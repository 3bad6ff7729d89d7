"""Variational inference, at its documented path: everything public about Bayes by Backprop."""

from .._last_layer import LastLayerVariationalInference
from .._layers import BayesianLinear
from .._mlp import BayesByBackpropMLP, BayesByBackpropRegressor
from .._objective import negative_elbo, vi_elbo_step
from .._posterior import GaussianPosterior, GaussianPrior
from .._prediction import predict_vi_uq
from .._regressors import (
    HeteroscedasticBayesByBackpropRegressor,
    HeteroscedasticMultiOutputBayesByBackpropRegressor,
    HomoscedasticBayesByBackpropRegressor,
    MultiOutputBayesByBackpropRegressor,
)
from ..types import UQResult

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
    "UQResult",
    "negative_elbo",
    "predict_vi_uq",
    "vi_elbo_step",
]
