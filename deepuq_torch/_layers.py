"""Bayesian affine layer, and passes through a sequence of layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._checks import autocasts, fault, finite_number, positive_number, positive_size
from ._kl import Term, total_kl
from ._module import BayesianModule
from ._noise import LayerNoise, Noise, as_sequence, one_source
from ._posterior import GaussianPosterior, GaussianPrior, script_draw
from ._stack import WeightStack

_AUTOCAST = (torch.float32, torch.bfloat16, torch.float16)
_RHO_START = -3.0  # documented: sigma starts at softplus(-3) = 0.0486


class BayesianLinear(BayesianModule):
    """Affine layer with Gaussian posteriors.

    ``y = x W^T + b``. Weight and bias have a posterior each. Every mu starts at 0 and every rho at -3, so
    ``sample=False`` gives zeros until the layer has been trained.

    Args:
        in_features: size of x's last axis.
        out_features: size of y's last axis.
        prior_sigma: standard deviation (not a variance) of the Gaussian prior over each weight.
        prior_mu: mean of the prior.
        device: device of the parameters; torch's default if None.
        dtype: dtype of the parameters; torch's default if None.

    Raises:
        ValueError: a size that is not positive, or a prior_sigma that is not finite and positive.
        TypeError: a size that is not an integer, or a prior that is not a number.

    Source:
        Blundell et al. 2015, https://arxiv.org/abs/1505.05424

    Example:
        >>> layer = BayesianLinear(3, 2)
        >>> noise = layer.draw_noise()
        >>> y = layer(torch.ones(4, 3), noise=noise)
        >>> tuple(y.shape), torch.equal(y, layer(torch.ones(4, 3), noise=noise))
        ((4, 2), True)
        >>> layer.kl().detach()
        tensor(2.7187)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        prior_sigma: float = 0.1,
        prior_mu: float = 0.0,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        self.in_features: int = positive_size("in_features", in_features)
        self.out_features: int = positive_size("out_features", out_features)
        self.prior: GaussianPrior = GaussianPrior(
            finite_number("prior_mu", prior_mu), positive_number("prior_sigma", prior_sigma)
        )

        def start(*shape: int) -> GaussianPosterior:
            mu = torch.zeros(shape, device=device, dtype=dtype)
            return GaussianPosterior(mu, torch.full_like(mu, _RHO_START))

        self.weight_posterior: GaussianPosterior = start(self.out_features, self.in_features)
        self.bias_posterior: GaussianPosterior = start(self.out_features)

    def draw_noise(self, *, generator: torch.Generator | None = None) -> LayerNoise:
        """Draw noise for a pass: ``(eps_weight [out, in], eps_bias [out])``.

        The weight's noise is drawn first. ``layer(x, noise=layer.draw_noise())`` equals ``layer(x)`` at the same
        generator state.
        """
        weight = self.weight_posterior.draw_noise(generator=generator)
        return weight, self.bias_posterior.draw_noise(generator=generator)

    def forward(
        self,
        x: Tensor,
        sample: bool = True,
        *,
        noise: LayerNoise | WeightStack | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Run a pass with drawn weights, or at their means.

        Args:
            x: ``[..., in_features]``.
            sample: whether to draw the weights; if False, they are at their means.
            noise: ``(eps_weight [out, in], eps_bias [out])`` to draw with; if None, it is drawn here.
            generator: generator of the noise; torch's default generator if None.

        Returns:
            ``[..., out_features]``.

        Raises:
            ValueError: a wrong number of features, noise of the wrong size, noise with ``sample=False``, or both noise
                and a generator.
            TypeError: x or the noise has the wrong type.
        """
        check_features(x, self)
        one_source(noise, generator)
        if not sample:
            refuse_noise(noise)
            return self._affine(x, self.weight_posterior.mu, self.bias_posterior.mu)
        if isinstance(noise, WeightStack):
            return noise(x)
        weight_noise, bias_noise = (None, None) if noise is None else as_sequence("noise", noise, 2, "tensor")
        # Weight before bias: the documented order of draws.
        weight = self.weight_posterior.sample(noise=weight_noise, generator=generator)
        bias = self.bias_posterior.sample(noise=bias_noise, generator=generator)
        return self._affine(x, weight, bias)

    def _affine(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Apply weights (drawn, or at their means), which a subclass may change first."""
        return F.linear(x, weight, bias)

    def _script_forward(self, x: Tensor, sample: bool = True) -> Tensor:
        weight, bias = self.weight_posterior, self.bias_posterior
        if sample:
            w = script_draw(weight.mu, weight.rho)
            return F.linear(x, w, script_draw(bias.mu, bias.rho))
        return F.linear(x, weight.mu, bias.mu)

    def kl(self) -> Tensor:
        """KL(q || p) of weight and bias: a scalar, in nats.

        The sum over all components of both tensors of::

            log(sigma_p / sigma_q) + (sigma_q^2 + (mu_q - mu_p)^2) / (2 sigma_p^2) - 1/2

        ``mu_q`` and ``sigma_q = softplus(rho)`` belong to the posterior, ``mu_p`` and ``sigma_p`` to the prior.
        """
        return _kl_of_posteriors([self])

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, prior={self.prior}"


def bayesian_layers(members: Iterable[nn.Module]) -> list[BayesianLinear]:
    """List the Bayesian layers among these modules, in order."""
    return [member for member in members if isinstance(member, BayesianLinear)]


def run_members(
    members: Sequence[nn.Module] | nn.ModuleList,
    x: Tensor,
    sample: bool,
    noise: Noise | None,
    generator: torch.Generator | None,
) -> Tensor:
    """Pass x through the members, with noise per Bayesian layer."""
    one_source(noise, generator)
    if not sample:
        refuse_noise(noise)
    if noise is not None:
        noise = as_sequence("noise", noise, len(bayesian_layers(members)), "Bayesian layer")
    stacked = noise is not None and isinstance(noise[0], WeightStack)
    index = 0
    for member in members:
        if isinstance(member, BayesianLinear):
            x = member(x, sample=sample, noise=None if noise is None else noise[index], generator=generator)
            index += 1
        elif stacked and type(member) is nn.ReLU:
            x = x.relu_()  # in memory of the stack that nothing else uses
        else:
            x = member(x)
    return x


def sum_kl(layers: Sequence[BayesianLinear]) -> Tensor:
    """Sum the KL of independent layers, in nats."""
    if any(type(layer).kl is not BayesianLinear.kl for layer in layers):  # a subclass may have another KL
        return total_kl([], [layer.kl() for layer in layers])
    return _kl_of_posteriors(layers)


def _kl_of_posteriors(layers: Sequence[BayesianLinear]) -> Tensor:
    terms: list[Term] = []
    own: list[Tensor] = []
    for layer in layers:
        for posterior in (layer.weight_posterior, layer.bias_posterior):
            if type(posterior).kl is GaussianPosterior.kl:
                terms.append(posterior.kl_term(layer.prior))
            else:
                own.append(posterior.kl(layer.prior))
    return total_kl(terms, own)


def check_features(x: object, layer: BayesianLinear) -> None:
    """Require a tensor of the layer's number of features and dtype."""
    if not isinstance(x, Tensor):
        raise TypeError(fault("x", "to be a torch.Tensor", type(x).__name__))
    if x.is_sparse:
        raise TypeError(fault("x", "to be a dense tensor", x.layout, "Use x.to_dense()."))
    if x.ndim == 0 or x.shape[-1] != layer.in_features:
        raise ValueError(fault("x", f"to have a last axis of {layer.in_features} features", f"shape {tuple(x.shape)}"))
    dtype = layer.weight_posterior.mu.dtype
    # Autocast converts the inputs of a layer itself, but neither integers nor float64.
    if x.dtype != dtype and not (x.dtype in _AUTOCAST and autocasts(x.device)):
        advice = f"Cast it, with x.to({dtype})"
        advice += f", or the model, with model.to({x.dtype})." if x.is_floating_point() else "."
        raise TypeError(fault("x", f"to have the dtype of the parameters, {dtype}", x.dtype, advice))


def refuse_noise(noise: object) -> None:
    """Refuse noise for a pass at the means."""
    if noise is not None:
        raise ValueError(fault("noise", "to be None with sample=False", type(noise).__name__))
