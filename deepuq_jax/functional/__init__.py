"""Pure functions on arrays, which take noise as an argument."""

from deepuq_jax.functional.gaussian import (
    gaussian_kl,
    gaussian_log_prob,
    log_sigma,
    reparameterize,
    rho_from_sigma,
    sigma_from_rho,
)
from deepuq_jax.functional.likelihood import (
    categorical_log_likelihood,
    gaussian_log_likelihood,
    heteroscedastic_log_likelihood,
    heteroscedastic_nll,
    mean_squared_error,
    split_mean_variance,
    variance_from_raw,
)
from deepuq_jax.functional.moments import (
    Moments,
    empty_moments,
    entropy,
    entropy_of_probs,
    merge_moments,
    update_moments,
    variance,
)
from deepuq_jax.functional.natural_gradient import PrecisionStep, ScaleStep, mean_step, precision_step, scale_step
from deepuq_jax.functional.propagation import relu_moments

__all__ = [
    "Moments",
    "PrecisionStep",
    "ScaleStep",
    "categorical_log_likelihood",
    "empty_moments",
    "entropy",
    "entropy_of_probs",
    "gaussian_kl",
    "gaussian_log_likelihood",
    "gaussian_log_prob",
    "heteroscedastic_log_likelihood",
    "heteroscedastic_nll",
    "log_sigma",
    "mean_squared_error",
    "mean_step",
    "merge_moments",
    "precision_step",
    "relu_moments",
    "reparameterize",
    "rho_from_sigma",
    "scale_step",
    "sigma_from_rho",
    "split_mean_variance",
    "update_moments",
    "variance",
    "variance_from_raw",
]
