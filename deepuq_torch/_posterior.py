"""Gaussian posterior of a parameter tensor, and Gaussian prior."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._checks import fault, finite_number, floating_tensor, positive_number, same_shape
from ._gaussian import SOFTPLUS_THRESHOLD, gaussian_log_prob, normal_log_prob, reparameterize, sigma_from_rho
from ._kl import Term, total_kl
from ._noise import one_source, standard_normal_like


class GaussianPrior:
    """Isotropic Gaussian prior: each component of w is N(mu, sigma^2).

    Args:
        mu: mean.
        sigma: standard deviation (not a variance).

    Raises:
        ValueError: mu is not finite, or sigma is not finite and positive.
        TypeError: either is not a number.

    Example:
        >>> GaussianPrior(sigma=0.1).log_prob(torch.zeros(2))
        tensor(2.7673)
    """

    def __init__(self, mu: float = 0.0, sigma: float = 0.1):
        self.mu: float = finite_number("mu", mu)
        self.sigma: float = positive_number("sigma", sigma)

    def log_prob(self, w: Tensor) -> Tensor:
        """Sum log N(w; mu, sigma^2) over the tensor.

        Args:
            w: weights, any shape.

        Returns:
            a scalar, in nats.
        """
        return normal_log_prob(w, self.mu, self.sigma).sum()

    def __repr__(self) -> str:
        return f"GaussianPrior(mu={self.mu}, sigma={self.sigma})"


class GaussianPosterior(nn.Module):
    """Diagonal Gaussian over a parameter tensor: ``w ~ N(mu, softplus(rho)^2)``.

    The components are independent. ``mu`` and ``rho`` are trainable parameters.

    Args:
        mu: initial means, a floating tensor of any shape.
        rho: initial values of rho, of the same shape; the standard deviation is ``softplus(rho)``.

    Raises:
        ValueError: the shapes differ.
        TypeError: either is not a floating tensor.

    Source:
        Blundell et al. 2015, https://arxiv.org/abs/1505.05424

    Example:
        >>> posterior = GaussianPosterior(torch.zeros(2), torch.full((2,), -3.0))
        >>> posterior.sigma.detach()
        tensor([0.0486, 0.0486])
        >>> posterior.sample(noise=torch.tensor([1.0, -1.0])).detach()
        tensor([ 0.0486, -0.0486])
    """

    def __init__(self, mu: Tensor, rho: Tensor):
        super().__init__()
        floating_tensor("mu", mu)
        same_shape("rho", floating_tensor("rho", rho), mu.shape, "mu")
        self.mu: nn.Parameter = nn.Parameter(mu)
        self.rho: nn.Parameter = nn.Parameter(rho)

    __jit_unused_properties__: ClassVar[tuple[str, ...]] = ("sigma",)

    @property
    def sigma(self) -> Tensor:
        """Standard deviation, ``softplus(rho)``, in at least float32."""
        return sigma_from_rho(self.rho)

    def draw_noise(self, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw noise of mu's shape.

        ``sample()`` draws the same numbers at the same generator state.
        """
        return standard_normal_like(self.mu, generator)

    def sample(self, *, noise: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Draw by reparameterization: ``w = mu + sigma * noise``.

        Args:
            noise: standard normal numbers of mu's shape; if None, they are drawn here.
            generator: generator of the noise; torch's default generator if None.

        Returns:
            w, of mu's shape and dtype, differentiable in mu and rho.

        Raises:
            ValueError: the noise has a different shape, or both arguments are given.
            TypeError: the noise is not a floating tensor.
        """
        mu = self.mu
        if noise is None:
            noise = self.draw_noise(generator=generator)
        else:
            one_source(noise, generator)
            same_shape("noise", floating_tensor("noise", noise), mu.shape, "mu")
        return reparameterize(mu, self.rho, noise)

    def log_prob(self, w: Tensor) -> Tensor:
        """Sum log N(w; mu, sigma^2) over the tensor.

        Args:
            w: weights of mu's shape.

        Returns:
            a scalar, in nats.
        """
        return gaussian_log_prob(w, self.mu, self.rho).sum()

    def kl(self, prior: GaussianPrior) -> Tensor:
        """KL divergence from a Gaussian prior, in closed form.

        Args:
            prior: an object with ``mu`` and ``sigma``, numbers or tensors that broadcast.

        Returns:
            a scalar, in nats: the sum over components.

        Raises:
            TypeError: the prior has no ``mu`` and ``sigma``.
        """
        return total_kl([self.kl_term(prior)])

    def kl_term(self, prior: GaussianPrior) -> Term:
        """Return the term of ``total_kl`` for this posterior."""
        try:
            return self.mu, self.rho, prior.mu, prior.sigma
        except AttributeError:
            raise TypeError(fault("prior", "to have mu and sigma", type(prior).__name__)) from None

    def extra_repr(self) -> str:
        return f"shape={tuple(self.mu.shape)}"


def script_draw(mu: Tensor, rho: Tensor, threshold: float = SOFTPLUS_THRESHOLD) -> Tensor:
    """Draw with fresh noise, in the subset of Python that TorchScript supports."""
    noise = torch.randn_like(mu)
    if mu.dtype == torch.float16 or mu.dtype == torch.bfloat16:
        sigma = F.softplus(rho.float(), 1.0, threshold)
        return torch.addcmul(mu.float(), sigma, noise.float()).to(mu.dtype)
    return torch.addcmul(mu, F.softplus(rho, 1.0, threshold), noise)
