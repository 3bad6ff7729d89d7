"""Likelihoods of targets given a model's outputs."""

from deepuq_jax.likelihoods.bernoulli import Bernoulli
from deepuq_jax.likelihoods.categorical import Categorical
from deepuq_jax.likelihoods.gaussian import Gaussian
from deepuq_jax.likelihoods.learned_noise import HeteroscedasticGaussian, HomoscedasticGaussian
from deepuq_jax.likelihoods.log_normal import LogNormal
from deepuq_jax.likelihoods.masked import Masked
from deepuq_jax.likelihoods.negative_binomial import NegativeBinomial
from deepuq_jax.likelihoods.poisson import Poisson
from deepuq_jax.likelihoods.student_t import StudentT
from deepuq_jax.likelihoods.unknown_noise import UnknownNoise
from deepuq_jax.likelihoods.weighted import Weighted

__all__ = [
    "Bernoulli",
    "Categorical",
    "Gaussian",
    "HeteroscedasticGaussian",
    "HomoscedasticGaussian",
    "LogNormal",
    "Masked",
    "NegativeBinomial",
    "Poisson",
    "StudentT",
    "UnknownNoise",
    "Weighted",
]
