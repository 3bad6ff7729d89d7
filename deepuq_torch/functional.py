"""Pure functions behind the modules, with noise as an argument.

They cover elementwise Gaussians (``sigma`` is a standard deviation, ``rho`` its parameter), log-likelihoods
(``(outputs, y) -> [batch]``, in nats) and noise as data.
"""

from ._gaussian import (
    gaussian_log_prob,
    log_sigma,
    normal_log_prob,
    reparameterize,
    rho_from_sigma,
    sigma_from_rho,
)
from ._kl import gaussian_kl
from ._likelihood import (
    categorical_log_likelihood,
    gaussian_log_likelihood,
    heteroscedastic_gaussian_log_likelihood,
)
from ._noise import stack_noise

__all__ = [
    "categorical_log_likelihood",
    "gaussian_kl",
    "gaussian_log_likelihood",
    "gaussian_log_prob",
    "heteroscedastic_gaussian_log_likelihood",
    "log_sigma",
    "normal_log_prob",
    "reparameterize",
    "rho_from_sigma",
    "sigma_from_rho",
    "stack_noise",
]
