"""Models of both packages, and the same models in 60 digits.

All are made from a `Spec`. Weights and noise are inputs of a case, under the documented names and in the layout
``[out, in]``, so both sides return gradients in that layout.
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
from parity_tests import reference as ref
from parity_tests import transfer
from parity_tests.harness import Arrays

# Activations in 60 digits, by the names that both packages accept.
_ACTIVATIONS = {"relu": ref.relu, "gelu": ref.gelu, "tanh": ref.tanh, "silu": ref.silu}
ACTIVATIONS = tuple(_ACTIVATIONS)
_FEATURE_NAMES = ("features.weight", "features.bias")
_NOISE_NAME = "raw_var"


@dataclasses.dataclass(frozen=True)
class Spec:
    """Sizes, activation, prior and likelihood of a network.

    Without a likelihood, or with a categorical likelihood, the network is the documented MLP, which leaves its task to
    the criterion. With another likelihood it is the regressor of that likelihood.

    Attributes:
        inputs: size of the input.
        hidden: sizes of the hidden layers.
        outputs: number of targets or classes; a heteroscedastic network has two outputs per target.
        activation: name of the activation.
        prior_mu, prior_sigma: mean and standard deviation of the prior.
        likelihood: likelihood of `deepuq_jax`, or None.
        features: if positive, the network is a last layer of the likelihood's task over tanh(x W + b), with this number
            of features.
    """

    inputs: int = 2
    hidden: tuple[int, ...] = (3,)
    outputs: int = 2
    activation: str = "relu"
    prior_mu: float = 0.0
    prior_sigma: float = 0.1
    likelihood: Any = None
    features: int = 0

    @property
    def task(self) -> str:
        """Task of the likelihood."""
        return self.likelihood.task

    @property
    def is_mlp(self) -> bool:
        """Whether the network is the documented MLP."""
        return self.likelihood is None or isinstance(self.likelihood, dj.Categorical)

    @property
    def predicts_noise(self) -> bool:
        """Whether the outputs are means and raw variances."""
        return isinstance(self.likelihood, (dj.HeteroscedasticGaussian, dj.HomoscedasticGaussian))

    @property
    def is_homoscedastic(self) -> bool:
        """Whether the raw variances are a parameter."""
        return isinstance(self.likelihood, dj.HomoscedasticGaussian)

    @property
    def is_heteroscedastic(self) -> bool:
        """Whether the raw variances depend on the input."""
        return self.predicts_noise and not self.is_homoscedastic

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of the Bayesian layers' inputs and outputs."""
        hidden = () if self.features else self.hidden
        return self.features or self.inputs, *hidden, self.outputs * (2 if self.is_heteroscedastic else 1)

    @property
    def weight_names(self) -> tuple[str, ...]:
        """Names of all trained tensors."""
        features = _FEATURE_NAMES if self.features else ()
        noise = (_NOISE_NAME,) if self.is_homoscedastic else ()
        return (*features, *self.posterior_names, *noise)

    @property
    def posterior_names(self) -> tuple[str, ...]:
        """Documented state-dict keys."""
        parts = [f"{p}_posterior.{part}" for p in ("weight", "bias") for part in ("mu", "rho")]
        return tuple(f"layers.{2 * i}.{part}" for i in range(len(self.sizes) - 1) for part in parts)


def draw_weights(spec: Spec, rng: np.random.Generator) -> Arrays:
    """Draw means, and scales from a fifth to three times the default prior's.

    The means are as large as those of a trained network.
    """
    weights: Arrays = {}
    if spec.features:
        weights["features.weight"] = rng.normal(size=(spec.features, spec.inputs))
        weights["features.bias"] = rng.normal(size=spec.features)
    if spec.is_homoscedastic:
        weights[_NOISE_NAME] = rng.normal(size=spec.outputs)
    for i, (fan_in, fan_out) in enumerate(pairwise(spec.sizes)):
        for posterior, shape in (("weight", (fan_out, fan_in)), ("bias", (fan_out,))):
            weights[f"layers.{2 * i}.{posterior}_posterior.mu"] = rng.normal(size=shape) / np.sqrt(fan_in)
            weights[f"layers.{2 * i}.{posterior}_posterior.rho"] = rng.uniform(-4.0, -1.0, size=shape)
    return weights


def draw_noise(spec: Spec, rng: np.random.Generator, *draws: int) -> Arrays:
    """Draw standard normal noise, with leading axes for draws."""
    noise: Arrays = {}
    for i, (fan_in, fan_out) in enumerate(pairwise(spec.sizes)):
        noise[f"noise.{i}.weight"] = rng.normal(size=(*draws, fan_out, fan_in))
        noise[f"noise.{i}.bias"] = rng.normal(size=(*draws, fan_out))
    return noise


def torch_noise(spec: Spec, inputs: dict[str, Any]) -> tuple[Any, ...]:
    """Return the noise among the inputs in the form for torch.

    The noise of a network has a pair per layer; that of a last layer is the pair of its head.
    """
    pairs = tuple((inputs[f"noise.{i}.weight"], inputs[f"noise.{i}.bias"]) for i in range(len(spec.sizes) - 1))
    return pairs[0] if spec.features else pairs


def jax_noise(spec: Spec, inputs: dict[str, Any]) -> Any:
    """Return the noise among the inputs in the form for JAX."""
    return transfer.noise_to_jax(torch_noise(spec, inputs))


def jax_model(spec: Spec, inputs: dict[str, Any]) -> Any:
    """Build the JAX model with the weights among the inputs."""
    dtype = inputs[spec.weight_names[0]].dtype
    prior = dj.GaussianPrior(spec.prior_mu, spec.prior_sigma)
    options: dict[str, Any] = dict(prior=prior, param_dtype=dtype, rngs=nnx.Rngs(0))
    model = _jax_last_layer(spec, inputs, options) if spec.features else _jax_network(spec, options)
    names = (*spec.posterior_names, _NOISE_NAME) if spec.is_homoscedastic else spec.posterior_names
    return transfer.with_weights(model, {name: inputs[name] for name in names})


def _jax_last_layer(spec: Spec, inputs: dict[str, Any], options: dict[str, Any]) -> dj.LastLayerVariationalInference:
    linear = nnx.Linear(spec.inputs, spec.features, rngs=nnx.Rngs(0))
    linear.kernel, linear.bias = nnx.Param(inputs["features.weight"].T), nnx.Param(inputs["features.bias"])
    if isinstance(spec.likelihood, dj.Gaussian):
        options["likelihood"] = spec.likelihood
    return dj.LastLayerVariationalInference(
        nnx.Sequential(linear, jnp.tanh), spec.features, spec.outputs, spec.task, spec.is_heteroscedastic, **options
    )


def _jax_network(spec: Spec, options: dict[str, Any]) -> dj.BayesByBackpropMLP:
    # Torch samples weights, and the regressors of JAX with learned noise do not by default.
    common = {"activation": spec.activation, "estimator": dj.weight_sampling, **options}
    if spec.is_mlp:
        return dj.BayesByBackpropMLP(spec.inputs, spec.hidden, spec.outputs, likelihood=spec.likelihood, **common)
    if spec.is_homoscedastic:
        return dj.HomoscedasticBayesByBackpropRegressor(spec.inputs, spec.hidden, spec.outputs, **common)
    if not spec.is_heteroscedastic:
        common["likelihood"] = spec.likelihood
        return dj.MultiOutputBayesByBackpropRegressor(spec.inputs, spec.outputs, spec.hidden, **common)
    if spec.outputs == 1:
        return dj.HeteroscedasticBayesByBackpropRegressor(spec.inputs, spec.hidden, **common)
    return dj.HeteroscedasticMultiOutputBayesByBackpropRegressor(spec.inputs, spec.outputs, spec.hidden, **common)


def torch_model(spec: Spec, inputs: dict[str, Any]) -> Any:
    """Build the torch model with the inputs as its Parameters."""
    prior: dict[str, Any] = dict(prior_sigma=spec.prior_sigma, prior_mu=spec.prior_mu)
    model = _torch_last_layer(spec, inputs, prior) if spec.features else _torch_network(spec, prior)
    return put_parameters(model, spec, inputs)


def _torch_last_layer(spec: Spec, inputs: dict[str, Any], prior: dict[str, Any]) -> dt.LastLayerVariationalInference:
    linear = torch.nn.Linear(spec.inputs, spec.features)
    linear.weight, linear.bias = (_as_parameter(inputs[name]) for name in _FEATURE_NAMES)
    net = torch.nn.Sequential(linear, torch.nn.Tanh())
    return dt.LastLayerVariationalInference(
        net, spec.features, spec.outputs, spec.task, spec.is_heteroscedastic, **prior
    )


def _torch_network(spec: Spec, prior: dict[str, Any]) -> torch.nn.Module:
    common = {"activation": spec.activation, **prior}
    if spec.is_mlp:
        return dt.BayesByBackpropMLP(spec.inputs, spec.hidden, spec.outputs, **common)
    if spec.is_homoscedastic:
        return dt.HomoscedasticBayesByBackpropRegressor(spec.inputs, spec.hidden, spec.outputs, **common)
    if not spec.is_heteroscedastic:
        return dt.MultiOutputBayesByBackpropRegressor(spec.inputs, spec.outputs, spec.hidden, **common)
    if spec.outputs == 1:
        return dt.HeteroscedasticBayesByBackpropRegressor(spec.inputs, spec.hidden, **common)
    return dt.HeteroscedasticMultiOutputBayesByBackpropRegressor(spec.inputs, spec.outputs, spec.hidden, **common)


def original_model(module: Any, spec: Spec, inputs: dict[str, Any]) -> Any:
    """Build the original's MLP with the weights among the inputs."""
    model = module.BayesByBackpropMLP(spec.inputs, spec.hidden, spec.outputs, spec.prior_sigma)
    return put_parameters(model, spec, inputs)


def put_parameters(model: torch.nn.Module, spec: Spec, inputs: dict[str, Any]) -> torch.nn.Module:
    """Make the inputs the parameters of the model, without copies, so that gradients reach them."""
    for i, layer in enumerate(transfer.torch_layers(model)):
        for posterior in ("weight", "bias"):
            for part in ("mu", "rho"):
                parameter = _as_parameter(inputs[f"layers.{2 * i}.{posterior}_posterior.{part}"])
                setattr(getattr(layer, f"{posterior}_posterior"), part, parameter)
    if spec.is_homoscedastic:
        model.raw_var = _as_parameter(inputs[_NOISE_NAME])
    return model


def _as_parameter(value: torch.Tensor) -> torch.nn.Parameter:
    return value if isinstance(value, torch.nn.Parameter) else torch.nn.Parameter(value)


def reference_outputs(spec: Spec, inputs: Arrays, draw: int | None) -> np.ndarray:
    """Compute the outputs of a draw, or at the means."""
    h = inputs["x"]
    if spec.features:
        h = ref.tanh(h @ inputs["features.weight"].T + inputs["features.bias"])
    last = len(spec.sizes) - 2
    for i in range(last + 1):
        weight, bias = (_reference_weight(inputs, i, posterior, draw) for posterior in ("weight", "bias"))
        h = h @ weight.T + bias
        if i < last:
            h = _ACTIVATIONS[spec.activation](h)
    if spec.is_homoscedastic:
        return np.concatenate([h, np.broadcast_to(inputs[_NOISE_NAME], h.shape)], axis=-1)
    return h


def _reference_weight(inputs: Arrays, i: int, posterior: str, draw: int | None) -> np.ndarray:
    mu = inputs[f"layers.{2 * i}.{posterior}_posterior.mu"]
    if draw is None:
        return mu
    return (
        mu + ref.softplus(inputs[f"layers.{2 * i}.{posterior}_posterior.rho"]) * inputs[f"noise.{i}.{posterior}"][draw]
    )


def reference_kl(spec: Spec, inputs: Arrays) -> Any:
    """Compute the KL of the whole network in 60 digits."""
    prior = ref.mp.mpf(spec.prior_mu), ref.mp.mpf(spec.prior_sigma)
    names = [name[: -len(".mu")] for name in spec.weight_names if name.endswith(".mu")]
    return sum(ref.gaussian_kl(inputs[f"{name}.mu"], inputs[f"{name}.rho"], *prior).sum() for name in names)
