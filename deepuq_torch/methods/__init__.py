"""Inference methods, with the layout of Deep-UQ, which documents ``methods.vi``."""

from . import vi
from .vi import (
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
    "negative_elbo",
    "predict_vi_uq",
    "vi",
    "vi_elbo_step",
]
