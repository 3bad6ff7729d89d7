"""Priors over weights, and rules that choose them."""

from deepuq_jax.priors.empirical import EmpiricalGaussianPrior
from deepuq_jax.priors.gaussian import GaussianPrior
from deepuq_jax.priors.laplace import LaplacePrior
from deepuq_jax.priors.learned import LearnedPrior
from deepuq_jax.priors.rules import by_path, fan_in_gaussian
from deepuq_jax.priors.scale_mixture import ScaleMixturePrior
from deepuq_jax.priors.student_t import StudentTPrior

__all__ = [
    "EmpiricalGaussianPrior",
    "GaussianPrior",
    "LaplacePrior",
    "LearnedPrior",
    "ScaleMixturePrior",
    "StudentTPrior",
    "by_path",
    "fan_in_gaussian",
]
