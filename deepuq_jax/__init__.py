"""Bayesian neural networks by mean-field variational inference, as pure functions over pytrees.

A Bayesian model is a pytree that can be called as ``model(x, key=k)`` (a draw) or ``model(x)`` (posterior means) and
has ``.kl()``. Layers are, MLPs are, and `bayesianize(net)` makes any network one.
"""

from deepuq_jax import diagnostics, estimators, functional, layers, metrics, priors, schedules
from deepuq_jax.bayesianize import BayesianModule, bayesianize, moped, relative
from deepuq_jax.diagnostics import diagnose
from deepuq_jax.estimators import (
    approximate_local_reparameterization,
    flipout,
    local_reparameterization,
    weight_sampling,
)
from deepuq_jax.fit import FitResult, NonFiniteError, fit
from deepuq_jax.functional import Categorical, Gaussian, HeteroscedasticGaussian, HomoscedasticGaussian, UnknownNoise
from deepuq_jax.layers import (
    BayesByBackpropMLP,
    BayesByBackpropRegressor,
    BayesianConv,
    BayesianEmbed,
    BayesianLinear,
    HeteroscedasticBayesByBackpropRegressor,
    HeteroscedasticMultiOutputBayesByBackpropRegressor,
    HomoscedasticBayesByBackpropRegressor,
    LastLayerVariationalInference,
    MultiOutputBayesByBackpropRegressor,
    Sequential,
)
from deepuq_jax.layers.homoscedastic import LearnedNoise
from deepuq_jax.model import draw
from deepuq_jax.objective import kl_divergence, negative_elbo, vi_elbo_step
from deepuq_jax.posterior import GaussianPosterior, KeyRequiredError, MeanField
from deepuq_jax.prediction import log_predictive_density, predict_vi_uq
from deepuq_jax.priors import (
    EmpiricalGaussianPrior,
    GaussianPrior,
    LaplacePrior,
    LearnedPrior,
    ScaleMixturePrior,
    StudentTPrior,
    by_path,
    fan_in_gaussian,
)
from deepuq_jax.pruning import prune, signal_to_noise_curve
from deepuq_jax.training import TrainState, init, train_epoch, train_step
from deepuq_jax.types import BayesianModel, ELBOTerms, Estimator, Likelihood, Prior, UQResult

__version__ = "0.1.0"

__all__ = [
    "BayesByBackpropMLP",
    "BayesByBackpropRegressor",
    "BayesianConv",
    "BayesianEmbed",
    "BayesianLinear",
    "BayesianModel",
    "BayesianModule",
    "Categorical",
    "ELBOTerms",
    "EmpiricalGaussianPrior",
    "Estimator",
    "FitResult",
    "Gaussian",
    "GaussianPosterior",
    "GaussianPrior",
    "HeteroscedasticBayesByBackpropRegressor",
    "HeteroscedasticGaussian",
    "HeteroscedasticMultiOutputBayesByBackpropRegressor",
    "HomoscedasticBayesByBackpropRegressor",
    "HomoscedasticGaussian",
    "KeyRequiredError",
    "LaplacePrior",
    "LastLayerVariationalInference",
    "LearnedNoise",
    "LearnedPrior",
    "Likelihood",
    "MeanField",
    "MultiOutputBayesByBackpropRegressor",
    "NonFiniteError",
    "Prior",
    "ScaleMixturePrior",
    "Sequential",
    "StudentTPrior",
    "TrainState",
    "UQResult",
    "UnknownNoise",
    "approximate_local_reparameterization",
    "bayesianize",
    "by_path",
    "diagnose",
    "diagnostics",
    "draw",
    "estimators",
    "fan_in_gaussian",
    "fit",
    "flipout",
    "functional",
    "init",
    "kl_divergence",
    "layers",
    "local_reparameterization",
    "log_predictive_density",
    "metrics",
    "moped",
    "negative_elbo",
    "predict_vi_uq",
    "priors",
    "prune",
    "relative",
    "schedules",
    "signal_to_noise_curve",
    "train_epoch",
    "train_step",
    "vi_elbo_step",
    "weight_sampling",
]
