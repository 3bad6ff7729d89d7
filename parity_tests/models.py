"""One description of a model, and the model that each package, and 60-digit arithmetic, makes of it.

Weights and noise are inputs of a case, under the documented names and as ``[out, in]``, so gradients come out in that
layout on both sides.
"""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

import deepuq_jax as dj
import deepuq_torch as dt
from parity_tests import bridge
from parity_tests import reference as ref
from parity_tests.harness import Arrays

_ACTIVATIONS = {"relu": (nnx.relu, ref.relu), "tanh": (jnp.tanh, ref.tanh)}


@dataclasses.dataclass(frozen=True)
class Spec:
    """A network: sizes, activation, prior, and the likelihood that it names.

    `outputs` counts targets; a heteroscedastic network has two numbers for each. With no likelihood it is the
    documented MLP, whose task is left to the criterion.
    """

    inputs: int = 2
    hidden: tuple[int, ...] = (3,)
    outputs: int = 2
    activation: str = "relu"
    prior_mu: float = 0.0
    prior_sigma: float = 0.1
    likelihood: Any = None

    @property
    def is_heteroscedastic(self) -> bool:
        return isinstance(self.likelihood, dj.HeteroscedasticGaussian)

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.inputs, *self.hidden, self.outputs * (2 if self.is_heteroscedastic else 1)

    @property
    def weight_names(self) -> tuple[str, ...]:
        """The documented state-dict keys."""
        parts = [f"{p}_posterior.{part}" for p in ("weight", "bias") for part in ("mu", "rho")]
        return tuple(f"layers.{2 * i}.{part}" for i in range(len(self.sizes) - 1) for part in parts)


def draw_weights(spec: Spec, rng: np.random.Generator) -> Arrays:
    """Means as large as a trained network's, and scales on both sides of the prior's."""
    weights: Arrays = {}
    for i, (fan_in, fan_out) in enumerate(pairwise(spec.sizes)):
        for posterior, shape in (("weight", (fan_out, fan_in)), ("bias", (fan_out,))):
            weights[f"layers.{2 * i}.{posterior}_posterior.mu"] = rng.normal(size=shape) / np.sqrt(fan_in)
            weights[f"layers.{2 * i}.{posterior}_posterior.rho"] = rng.uniform(-4.0, -1.0, size=shape)
    return weights


def draw_noise(spec: Spec, rng: np.random.Generator, *draws: int) -> Arrays:
    """Standard normal noise, with leading axes for draws."""
    noise: Arrays = {}
    for i, (fan_in, fan_out) in enumerate(pairwise(spec.sizes)):
        noise[f"noise.{i}.weight"] = rng.normal(size=(*draws, fan_out, fan_in))
        noise[f"noise.{i}.bias"] = rng.normal(size=(*draws, fan_out))
    return noise


def torch_noise(spec: Spec, inputs: dict[str, Any]) -> tuple[tuple[Any, Any], ...]:
    """The noise among the inputs as torch takes it; of any package's arrays."""
    return tuple((inputs[f"noise.{i}.weight"], inputs[f"noise.{i}.bias"]) for i in range(len(spec.sizes) - 1))


def jax_noise(spec: Spec, inputs: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """The noise among the inputs as JAX takes it."""
    pairs = torch_noise(spec, inputs)
    return tuple({"kernel": jnp.swapaxes(weight, -1, -2), "bias": bias} for weight, bias in pairs)


def jax_model(spec: Spec, inputs: dict[str, Any]) -> dj.BayesByBackpropMLP:
    """The JAX model with the weights among the inputs."""
    model = dj.BayesByBackpropMLP(
        spec.inputs,
        spec.hidden,
        spec.sizes[-1],
        prior=dj.GaussianPrior(spec.prior_mu, spec.prior_sigma),
        activation=_ACTIVATIONS[spec.activation][0],
        likelihood=spec.likelihood,
        param_dtype=inputs[spec.weight_names[0]].dtype,
        rngs=nnx.Rngs(0),
    )
    return bridge.torch_to_jax({name: inputs[name] for name in spec.weight_names}, model)


def torch_model(spec: Spec, inputs: dict[str, Any]) -> Any:
    """The torch model with the weights among the inputs; it holds those very Parameters."""
    common: dict[str, Any] = dict(prior_sigma=spec.prior_sigma, prior_mu=spec.prior_mu, activation=spec.activation)
    if spec.likelihood is None or isinstance(spec.likelihood, dj.Categorical):
        model = dt.BayesByBackpropMLP(spec.inputs, spec.hidden, spec.outputs, **common)
    elif spec.is_heteroscedastic:
        model = dt.HeteroscedasticMultiOutputBayesByBackpropRegressor(spec.inputs, spec.outputs, spec.hidden, **common)
    else:
        model = dt.MultiOutputBayesByBackpropRegressor(spec.inputs, spec.outputs, spec.hidden, **common)
    return put_parameters(model, spec, inputs)


def original_model(module: Any, spec: Spec, inputs: dict[str, Any]) -> Any:
    """The original's MLP with the weights among the inputs."""
    model = module.BayesByBackpropMLP(spec.inputs, spec.hidden, spec.outputs, spec.prior_sigma)
    return put_parameters(model, spec, inputs)


def put_parameters(model: torch.nn.Module, spec: Spec, inputs: dict[str, Any]) -> torch.nn.Module:
    """Make the inputs the parameters themselves, not copies, so that their gradients can be asked for."""
    for i, layer in enumerate(bridge.torch_layers(model)):
        for posterior in ("weight", "bias"):
            for part in ("mu", "rho"):
                value = inputs[f"layers.{2 * i}.{posterior}_posterior.{part}"]
                parameter = value if isinstance(value, torch.nn.Parameter) else torch.nn.Parameter(value)
                setattr(getattr(layer, f"{posterior}_posterior"), part, parameter)
    return model


def reference_outputs(spec: Spec, inputs: Arrays, draw: int | None) -> np.ndarray:
    """Outputs of one draw, or at the means, in 60 digits."""
    h = inputs["x"]
    last = len(spec.sizes) - 2
    for i in range(last + 1):
        weight, bias = (_reference_weight(inputs, i, posterior, draw) for posterior in ("weight", "bias"))
        h = h @ weight.T + bias
        if i < last:
            h = _ACTIVATIONS[spec.activation][1](h)
    return h


def _reference_weight(inputs: Arrays, i: int, posterior: str, draw: int | None) -> np.ndarray:
    mu = inputs[f"layers.{2 * i}.{posterior}_posterior.mu"]
    if draw is None:
        return mu
    return (
        mu + ref.softplus(inputs[f"layers.{2 * i}.{posterior}_posterior.rho"]) * inputs[f"noise.{i}.{posterior}"][draw]
    )


def reference_kl(spec: Spec, inputs: Arrays) -> Any:
    """The KL of the whole network in 60 digits."""
    prior = ref.mp.mpf(spec.prior_mu), ref.mp.mpf(spec.prior_sigma)
    names = [name[: -len(".mu")] for name in spec.weight_names if name.endswith(".mu")]
    return sum(ref.gaussian_kl(inputs[f"{name}.mu"], inputs[f"{name}.rho"], *prior).sum() for name in names)
