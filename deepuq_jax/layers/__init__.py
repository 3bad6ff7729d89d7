"""Bayesian layers and models as Flax NNX modules.

Each family of layers has a file.
"""

from deepuq_jax.layers.conv import BayesianConv
from deepuq_jax.layers.embed import BayesianEmbed
from deepuq_jax.layers.homoscedastic import HomoscedasticBayesByBackpropRegressor
from deepuq_jax.layers.last_layer import LastLayerVariationalInference
from deepuq_jax.layers.linear import BayesianLinear
from deepuq_jax.layers.mlp import BayesByBackpropMLP, BayesByBackpropRegressor
from deepuq_jax.layers.regressors import (
    HeteroscedasticBayesByBackpropRegressor,
    HeteroscedasticMultiOutputBayesByBackpropRegressor,
    MultiOutputBayesByBackpropRegressor,
)
from deepuq_jax.layers.sequential import Sequential

__all__ = [
    "BayesByBackpropMLP",
    "BayesByBackpropRegressor",
    "BayesianConv",
    "BayesianEmbed",
    "BayesianLinear",
    "HeteroscedasticBayesByBackpropRegressor",
    "HeteroscedasticMultiOutputBayesByBackpropRegressor",
    "HomoscedasticBayesByBackpropRegressor",
    "LastLayerVariationalInference",
    "MultiOutputBayesByBackpropRegressor",
    "Sequential",
]
