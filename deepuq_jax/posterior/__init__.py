"""Mean-field Gaussian posteriors over tensors and pytrees."""

from deepuq_jax.posterior.kl_rules import AlongPath, AtDraw, KLRule
from deepuq_jax.posterior.mean_field import GaussianPosterior, KeyRequiredError, MeanField

__all__ = ["AlongPath", "AtDraw", "GaussianPosterior", "KLRule", "KeyRequiredError", "MeanField"]
