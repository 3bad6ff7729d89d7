"""Likelihoods of targets given a model's outputs."""

from deepuq_jax.likelihoods.categorical import Categorical
from deepuq_jax.likelihoods.gaussian import Gaussian
from deepuq_jax.likelihoods.learned_noise import HeteroscedasticGaussian, HomoscedasticGaussian
from deepuq_jax.likelihoods.unknown_noise import UnknownNoise

__all__ = ["Categorical", "Gaussian", "HeteroscedasticGaussian", "HomoscedasticGaussian", "UnknownNoise"]
