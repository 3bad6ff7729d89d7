"""Bayesian regressors with several outputs, predicted noise, or both."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn

from ._activations import activation_module
from ._checks import finite_number, positive_number, positive_size, positive_sizes
from ._heteroscedastic import HeteroscedasticOutputs
from ._layers import BayesianLinear, run_members, sum_kl
from ._module import BayesianModule
from ._noise import LayerNoise, Noise


class BayesianRegressor(BayesianModule):
    """Base of the regressors: hidden layers, activation and output layer."""

    task_type = "regression"
    heteroscedastic = False

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        hidden_dims: Iterable[int],
        prior_mu: float,
        prior_sigma: float,
        activation: str,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        self.input_dim: int = positive_size("input_dim", input_dim)
        self.output_dim: int = positive_size("output_dim", output_dim)
        self.hidden_dims: tuple[int, ...] = positive_sizes("hidden_dims", hidden_dims)
        self.raw_output_dim: int = self.output_dim * (2 if self.heteroscedastic else 1)
        self.prior_mu: float = finite_number("prior_mu", prior_mu)
        self.prior_sigma: float = positive_number("prior_sigma", prior_sigma)
        self.activation_name = activation
        self.activation: nn.Module = activation_module(activation)
        sizes = (self.input_dim, *self.hidden_dims, self.raw_output_dim)
        layers = [
            BayesianLinear(size, following, self.prior_sigma, self.prior_mu, device=device, dtype=dtype)
            for size, following in pairwise(sizes)
        ]
        self.hidden_layers: nn.ModuleList = nn.ModuleList(layers[:-1])
        self.output_layer: BayesianLinear = layers[-1]

    def bayesian_layers(self) -> list[BayesianLinear]:
        """The Bayesian layers in the order of their draws."""
        return [*self.hidden_layers, self.output_layer]  # type: ignore[list-item]  # ModuleList is untyped

    def forward(
        self,
        x: Tensor,
        sample: bool = True,
        *,
        noise: Noise | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Run a pass with drawn weights, or at the posterior means.

        Args:
            x: ``[..., input_dim]``.
            sample: whether to draw the weights; if False, they are at their means.
            noise: result of ``draw_noise``, a pair ``(eps_weight, eps_bias)`` per layer; the output layer is the last.
            generator: generator of the noise; torch's default generator if None.

        Returns:
            ``[..., raw_output_dim]``: means, followed by raw variances if the model is heteroscedastic.

        Raises:
            ValueError: a wrong number of features, noise of the wrong size, noise with ``sample=False``, or both noise
                and a generator.
            TypeError: x or the noise has the wrong type.
        """
        members: list[nn.Module] = []
        for layer in self.hidden_layers:
            members += [layer, self.activation]
        return run_members([*members, self.output_layer], x, sample, noise, generator)

    def _script_forward(self, x: Tensor, sample: bool = True) -> Tensor:
        for layer in self.hidden_layers:
            x = self.activation(layer(x, sample=sample))
        return self.output_layer(x, sample=sample)

    def draw_noise(self, *, generator: torch.Generator | None = None) -> tuple[LayerNoise, ...]:
        """Draw noise for a pass.

        Returns:
            ``(eps_weight [out, in], eps_bias [out])`` per layer.
        """
        return tuple(layer.draw_noise(generator=generator) for layer in self.bayesian_layers())

    def kl(self) -> Tensor:
        """KL(q || p) of all layers: a scalar, in nats."""
        return sum_kl(self.bayesian_layers())


class HeteroscedasticBayesByBackpropRegressor(HeteroscedasticOutputs, BayesianRegressor):
    """Bayesian regressor that predicts the noise of its targets.

    ``y ~ N(m(x), softplus(v(x)) + 1e-6)``. The outputs are ``output_dim`` means followed by as many raw variances v.

    Args:
        input_dim: size of x's last axis.
        hidden_dims: sizes of the hidden layers; if empty, the network is a single linear layer.
        output_dim: number of targets.
        prior_mu: mean of the Gaussian prior over each weight.
        prior_sigma: standard deviation (not a variance) of the prior.
        activation: "relu", "gelu", "tanh" or "silu".
        device: device of the parameters; torch's default if None.
        dtype: dtype of the parameters; torch's default if None.

    Raises:
        ValueError: a size or prior_sigma that is not positive, an unknown activation.
        TypeError: an argument of the wrong type.

    Source:
        Kendall and Gal 2017, https://arxiv.org/abs/1703.04977, for the noise; Blundell et al. 2015 for the rest

    Example:
        >>> model = HeteroscedasticBayesByBackpropRegressor(3, hidden_dims=(8,))
        >>> mean, raw_var = model.split_prediction(model(torch.ones(4, 3)))
        >>> tuple(mean.shape), tuple(raw_var.shape)
        ((4, 1), (4, 1))
    """

    heteroscedastic = True

    def __init__(
        self,
        input_dim: int,
        hidden_dims: Iterable[int] = (64, 64),
        output_dim: int = 1,
        prior_mu: float = 0.0,
        prior_sigma: float = 0.1,
        activation: str = "tanh",
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__(
            input_dim, output_dim, hidden_dims, prior_mu, prior_sigma, activation, device=device, dtype=dtype
        )


class MultiOutputBayesByBackpropRegressor(BayesianRegressor):
    """Bayesian regressor with several targets.

    By default, ``vi_elbo_step`` scores it by mean squared error.

    Args:
        input_dim: size of x's last axis.
        output_dim: number of targets.
        hidden_dims: sizes of the hidden layers; if empty, the network is a single linear layer.
        prior_mu: mean of the Gaussian prior over each weight.
        prior_sigma: standard deviation (not a variance) of the prior.
        activation: "relu", "gelu", "tanh" or "silu".
        device: device of the parameters; torch's default if None.
        dtype: dtype of the parameters; torch's default if None.

    Raises:
        ValueError: a size or prior_sigma that is not positive, an unknown activation.
        TypeError: an argument of the wrong type.

    Source:
        Blundell et al. 2015, https://arxiv.org/abs/1505.05424

    Example:
        >>> model = MultiOutputBayesByBackpropRegressor(3, 2, hidden_dims=(8,))
        >>> tuple(model(torch.ones(4, 3)).shape)
        (4, 2)
    """

    heteroscedastic = False

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        hidden_dims: Iterable[int] = (64, 64),
        prior_mu: float = 0.0,
        prior_sigma: float = 0.1,
        activation: str = "tanh",
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__(
            input_dim, output_dim, hidden_dims, prior_mu, prior_sigma, activation, device=device, dtype=dtype
        )


class HeteroscedasticMultiOutputBayesByBackpropRegressor(HeteroscedasticOutputs, BayesianRegressor):
    """Bayesian regressor with several targets and predicted noise.

    ``y ~ N(m(x), softplus(v(x)) + 1e-6)``. The outputs are ``output_dim`` means followed by as many raw variances v.

    Args:
        input_dim: size of x's last axis.
        output_dim: number of targets.
        hidden_dims: sizes of the hidden layers; if empty, the network is a single linear layer.
        prior_mu: mean of the Gaussian prior over each weight.
        prior_sigma: standard deviation (not a variance) of the prior.
        activation: "relu", "gelu", "tanh" or "silu".
        device: device of the parameters; torch's default if None.
        dtype: dtype of the parameters; torch's default if None.

    Raises:
        ValueError: a size or prior_sigma that is not positive, an unknown activation.
        TypeError: an argument of the wrong type.

    Source:
        Kendall and Gal 2017, https://arxiv.org/abs/1703.04977, for the noise; Blundell et al. 2015 for the rest

    Example:
        >>> model = HeteroscedasticMultiOutputBayesByBackpropRegressor(3, 2, hidden_dims=(8,))
        >>> tuple(model(torch.ones(4, 3)).shape)
        (4, 4)
    """

    heteroscedastic = True

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        hidden_dims: Iterable[int] = (64, 64),
        prior_mu: float = 0.0,
        prior_sigma: float = 0.1,
        activation: str = "tanh",
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__(
            input_dim, output_dim, hidden_dims, prior_mu, prior_sigma, activation, device=device, dtype=dtype
        )
