"""The documented Bayesian MLP, with its documented keys."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ._activations import activation_module
from ._checkpoint import rename_later_keys
from ._checks import finite_number, positive_number, positive_size, positive_sizes
from ._layers import BayesianLinear, bayesian_layers, run_members, sum_kl
from ._module import BayesianModule
from ._noise import LayerNoise, Noise


class BayesByBackpropMLP(BayesianModule):
    """Fully connected network of ``BayesianLinear`` layers and activations.

    ``torch.jit.script`` compiles the documented call, ``model(x, sample=True)``, without ``noise`` and ``generator``.
    ``layers`` holds Bayesian layers and activations alternately, so the state-dict keys are
    ``layers.{0,2,4,...}.weight_posterior.mu`` and so on. Checkpoints with the keys of later releases
    (``hidden_layers.{i}.*``, ``output_layer.*``) load, too.

    Args:
        input_dim: size of x's last axis.
        hidden_dims: sizes of the hidden layers; if empty, the network is a single linear layer.
        output_dim: number of outputs.
        prior_sigma: standard deviation (not a variance) of the Gaussian prior over each weight.
        prior_mu: mean of the prior.
        activation: "relu", "gelu", "tanh" or "silu".
        device: device of the parameters; torch's default if None.
        dtype: dtype of the parameters; torch's default if None.

    Raises:
        ValueError: a size that is not positive, a prior_sigma that is not positive, an unknown activation.
        TypeError: an argument of the wrong type.

    Source:
        Blundell et al. 2015, https://arxiv.org/abs/1505.05424

    Example:
        >>> mlp = BayesByBackpropMLP(3, [8], 2)
        >>> tuple(mlp(torch.ones(4, 3)).shape)
        (4, 2)
        >>> [tuple(eps.shape) for eps in mlp.draw_noise()[0]]
        [(8, 3), (8,)]
    """

    task_type = "generic"  # regression or classification, depending on the criterion
    heteroscedastic = False
    __jit_unused_properties__: ClassVar[tuple[str, ...]] = ("hidden_layers", "output_layer")

    def __init__(
        self,
        input_dim: int,
        hidden_dims: Iterable[int],
        output_dim: int,
        prior_sigma: float = 0.1,
        prior_mu: float = 0.0,
        activation: str = "relu",
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        self.input_dim: int = positive_size("input_dim", input_dim)
        self.hidden_dims: tuple[int, ...] = positive_sizes("hidden_dims", hidden_dims)
        self.output_dim: int = positive_size("output_dim", output_dim)
        self.raw_output_dim: int = self.output_dim
        self.prior_sigma: float = positive_number("prior_sigma", prior_sigma)
        self.prior_mu: float = finite_number("prior_mu", prior_mu)
        self.activation_name = activation
        members: list[nn.Module] = []
        last = self.input_dim
        for size in (*self.hidden_dims, self.output_dim):
            layer = BayesianLinear(last, size, self.prior_sigma, self.prior_mu, device=device, dtype=dtype)
            members += [layer, activation_module(activation)]
            last = size
        self.layers: nn.ModuleList = nn.ModuleList(members[:-1])

    def forward(
        self,
        x: Tensor,
        sample: bool = True,
        *,
        noise: Noise | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Run a pass with drawn weights, or at their means.

        Args:
            x: ``[..., input_dim]``.
            sample: whether to draw the weights; if False, they are at their means.
            noise: result of ``draw_noise``, a pair ``(eps_weight, eps_bias)`` per Bayesian layer.
            generator: generator of the noise; torch's default generator if None.

        Returns:
            ``[..., output_dim]``.

        Raises:
            ValueError: a wrong number of features, noise of the wrong size, noise with ``sample=False``, or both noise
                and a generator.
            TypeError: x or the noise has the wrong type.
        """
        return run_members(self.layers, x, sample, noise, generator)

    def _script_forward(self, x: Tensor, sample: bool = True) -> Tensor:
        for layer in self.layers:
            x = layer(x, sample=sample) if isinstance(layer, BayesianLinear) else layer(x)
        return x

    def draw_noise(self, *, generator: torch.Generator | None = None) -> tuple[LayerNoise, ...]:
        """Draw noise for a pass, ``(eps_weight [out, in], eps_bias [out])`` per layer."""
        return tuple(layer.draw_noise(generator=generator) for layer in self.bayesian_layers())

    def bayesian_layers(self) -> list[BayesianLinear]:
        """List the Bayesian layers in the order of their draws."""
        return bayesian_layers(self.layers)

    @property
    def hidden_layers(self) -> list[BayesianLinear]:
        """Bayesian layers before the last, as later releases name them."""
        return self.bayesian_layers()[:-1]

    @property
    def output_layer(self) -> BayesianLinear:
        """The last Bayesian layer, as later releases name it."""
        return self.bayesian_layers()[-1]

    def kl(self) -> Tensor:
        """KL(q || p) of all layers: a scalar, in nats."""
        return sum_kl(self.bayesian_layers())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        rename_later_keys(state_dict, prefix, len(self.hidden_dims))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


# Later releases document the same class under this name.
BayesByBackpropRegressor = BayesByBackpropMLP
