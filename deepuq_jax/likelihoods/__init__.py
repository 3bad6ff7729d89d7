"""Likelihoods: how a model's outputs are scored against targets, and what they predict; one per file."""

from deepuq_jax.likelihoods.categorical import Categorical
from deepuq_jax.likelihoods.gaussian import Gaussian
from deepuq_jax.likelihoods.learned_noise import HeteroscedasticGaussian, HomoscedasticGaussian
from deepuq_jax.likelihoods.unknown_noise import UnknownNoise

__all__ = ["Categorical", "Gaussian", "HeteroscedasticGaussian", "HomoscedasticGaussian", "UnknownNoise"]
