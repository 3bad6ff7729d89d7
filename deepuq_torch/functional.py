"""Pure functions behind the modules, with noise as an argument.

They cover elementwise Gaussians (``sigma`` is a standard deviation, ``rho`` its parameter), log-likelihoods
(``(outputs, y) -> [batch]``, in nats) and noise as data.
"""

from typing import Final

from . import _gaussian, _kl, _likelihood
from ._arguments import real_tensors
from ._likelihood import gaussian_log_likelihood
from ._noise import stack_noise

categorical_log_likelihood: Final = real_tensors("outputs", "y", broadcast=False)(
    _likelihood.categorical_log_likelihood
)
gaussian_kl: Final = real_tensors("mu", "rho", numbers=("prior_mu", "prior_sigma"))(_kl.gaussian_kl)
gaussian_log_prob: Final = real_tensors("w", "mu", "rho")(_gaussian.gaussian_log_prob)
heteroscedastic_gaussian_log_likelihood: Final = real_tensors("outputs", "y", broadcast=False)(
    _likelihood.heteroscedastic_gaussian_log_likelihood
)
log_sigma: Final = real_tensors("rho")(_gaussian.log_sigma)
normal_log_prob: Final = real_tensors("w", numbers=("mu", "sigma"))(_gaussian.normal_log_prob)
reparameterize: Final = real_tensors("mu", "rho", "noise")(_gaussian.reparameterize)
rho_from_sigma: Final = real_tensors("sigma")(_gaussian.rho_from_sigma)
sigma_from_rho: Final = real_tensors("rho")(_gaussian.sigma_from_rho)

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
