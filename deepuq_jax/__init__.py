"""Bayesian neural networks by mean-field variational inference in JAX.

A Bayesian model is a pytree with two calls and a method: ``model(x, key=k)`` evaluates a draw of the weights,
``model(x)`` evaluates the posterior means, and ``model.kl()`` returns the KL divergence from the prior. The layers and
MLPs of this package are Bayesian models, and `bayesianize(net)` turns any other network into a Bayesian model. No
function changes the model that it is given.

Some names and defaults follow Deep-UQ, the torch package whose documented interface `deepuq_torch` reimplements.
"""

from deepuq_jax import (
    conformal,
    diagnostics,
    estimators,
    functional,
    interop,
    layers,
    likelihoods,
    metrics,
    objectives,
    priors,
    saving,
)
from deepuq_jax._version import __version__ as __version__
from deepuq_jax.bayesianize import BayesianModule, bayesianize, moped, relative
from deepuq_jax.diagnostics import diagnose
from deepuq_jax.estimators import (
    approximate_local_reparameterization,
    flipout,
    local_reparameterization,
    weight_sampling,
)
from deepuq_jax.estimators.base import Estimator
from deepuq_jax.interop import export
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
from deepuq_jax.layers.student_t_noise import LearnedStudentTNoise
from deepuq_jax.likelihoods import (
    Bernoulli,
    Categorical,
    Gaussian,
    HeteroscedasticGaussian,
    HomoscedasticGaussian,
    LogNormal,
    Masked,
    NegativeBinomial,
    Poisson,
    StudentT,
    UnknownNoise,
    Weighted,
)
from deepuq_jax.likelihoods.base import Likelihood
from deepuq_jax.model.draw import draw
from deepuq_jax.model.held_scales import combine
from deepuq_jax.model.structure import partition
from deepuq_jax.objectives import ELBO, DocumentedELBO
from deepuq_jax.objectives.documented import vi_elbo_step
from deepuq_jax.objectives.elbo import negative_elbo
from deepuq_jax.objectives.kl import kl_divergence
from deepuq_jax.objectives.objective import Objective
from deepuq_jax.posterior import GaussianPosterior, KeyRequiredError, MeanField
from deepuq_jax.prediction.density import log_predictive_density
from deepuq_jax.prediction.density_error import DensityEstimate, log_density_with_error
from deepuq_jax.prediction.moments import predict_vi_uq
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
from deepuq_jax.priors.base import Prior
from deepuq_jax.pruning import prune, signal_to_noise_curve
from deepuq_jax.saving import load, save
from deepuq_jax.standardized import Standardized
from deepuq_jax.training import schedules
from deepuq_jax.training.epoch import train_epoch
from deepuq_jax.training.fit import fit
from deepuq_jax.training.natural_gradient import natural_gradient
from deepuq_jax.training.prior_choice import PriorChoice, choose_prior
from deepuq_jax.training.result import FitResult, NonFiniteError
from deepuq_jax.training.state import TrainState
from deepuq_jax.training.step import train_step
from deepuq_jax.types import BayesianModel, ELBOTerms, UQResult
from deepuq_jax.updating import as_prior, with_prior

__all__ = [
    "ELBO",
    "BayesByBackpropMLP",
    "BayesByBackpropRegressor",
    "BayesianConv",
    "BayesianEmbed",
    "BayesianLinear",
    "BayesianModel",
    "BayesianModule",
    "Bernoulli",
    "Categorical",
    "DensityEstimate",
    "DocumentedELBO",
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
    "LearnedStudentTNoise",
    "Likelihood",
    "LogNormal",
    "Masked",
    "MeanField",
    "MultiOutputBayesByBackpropRegressor",
    "NegativeBinomial",
    "NonFiniteError",
    "Objective",
    "Poisson",
    "Prior",
    "PriorChoice",
    "ScaleMixturePrior",
    "Sequential",
    "Standardized",
    "StudentT",
    "StudentTPrior",
    "TrainState",
    "UQResult",
    "UnknownNoise",
    "Weighted",
    "approximate_local_reparameterization",
    "as_prior",
    "bayesianize",
    "by_path",
    "choose_prior",
    "combine",
    "conformal",
    "diagnose",
    "diagnostics",
    "draw",
    "estimators",
    "export",
    "fan_in_gaussian",
    "fit",
    "flipout",
    "functional",
    "interop",
    "kl_divergence",
    "layers",
    "likelihoods",
    "load",
    "local_reparameterization",
    "log_density_with_error",
    "log_predictive_density",
    "metrics",
    "moped",
    "natural_gradient",
    "negative_elbo",
    "objectives",
    "partition",
    "predict_vi_uq",
    "priors",
    "prune",
    "relative",
    "save",
    "saving",
    "schedules",
    "signal_to_noise_curve",
    "train_epoch",
    "train_step",
    "vi_elbo_step",
    "weight_sampling",
    "with_prior",
]
