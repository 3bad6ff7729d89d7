"""Cases of layers, networks and objectives.

The cases are forward passes with the KL, and `negative_elbo` and `vi_elbo_step`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import deepuq_jax as dj
import deepuq_torch as dt
from deepuq_torch import functional as ft
from parity_tests import models, original
from parity_tests import reference as ref
from parity_tests.harness import Arrays, Case
from parity_tests.models import Spec

_BATCH = 3
_NOISE_SIGMA = 0.5  # of the Gaussian likelihood; exact in binary
# These numbers are neither 1 nor equal to each other, so that a missing or misplaced factor shows.
_NUM_DATA, _NUM_BATCHES, _KL_WEIGHT = 37, 9, 0.3

SPECS = {
    "categorical": Spec(outputs=3, likelihood=dj.Categorical()),
    "gaussian": Spec(activation="tanh", prior_sigma=0.25, likelihood=dj.Gaussian(_NOISE_SIGMA)),
    "regression": Spec(activation="tanh", prior_sigma=0.25, likelihood=dj.UnknownNoise()),
    "heteroscedastic": Spec(activation="tanh", prior_mu=0.5, likelihood=dj.HeteroscedasticGaussian()),
    "heteroscedastic, one target": Spec(outputs=1, activation="silu", likelihood=dj.HeteroscedasticGaussian()),
}
# Each likelihood above appears again as the likelihood of a last layer.
_NETWORKS = dict(SPECS)
SPECS["homoscedastic"] = Spec(activation="tanh", prior_sigma=0.25, likelihood=dj.HomoscedasticGaussian())
SPECS |= {
    f"last layer, {kind}": dataclasses.replace(spec, features=3, activation="relu") for kind, spec in _NETWORKS.items()
}
# The exact objective needs to know the noise; the documented objective cannot be given a known noise.
_EXACT = [kind for kind in SPECS if not kind.endswith("regression")]
_DOCUMENTED = [kind for kind in SPECS if not kind.endswith("gaussian")]


def draw_inputs(spec: Spec, seed: int, *draws: int) -> Arrays:
    """Draw weights, noise and a batch."""
    rng = np.random.default_rng(seed)
    batch: Arrays = {"x": rng.normal(size=(_BATCH, spec.inputs)), "y": rng.normal(size=(_BATCH, spec.outputs))}
    if isinstance(spec.likelihood, dj.Categorical):
        batch["y"] = rng.integers(spec.outputs, size=_BATCH)
    return {**models.draw_weights(spec, rng), **models.draw_noise(spec, rng, *draws), **batch}


def forward_case(
    name: str, spec: Spec, seed: int = 0, *, layer_alone: bool = False, with_reference: bool = True
) -> Case:
    """Case of a network, or of its only layer.

    The case compares a draw, the outputs at the means, and the KL.
    """

    def part(model: Any, noise: Any) -> tuple[Any, Any]:
        return (model.layers[0], noise[0]) if layer_alone else (model, noise)

    def jax_side(i: dict[str, Any]) -> dict[str, Any]:
        model, noise = part(models.jax_model(spec, i), models.jax_noise(spec, i))
        return {"value": model(i["x"], noise=noise), "means": model(i["x"]), "kl": model.kl()}

    def torch_side(i: dict[str, Any]) -> dict[str, Any]:
        model, noise = part(models.torch_model(spec, i), models.torch_noise(spec, i))
        return {"value": model(i["x"], noise=noise), "means": model(i["x"], sample=False), "kl": model.kl()}

    def exactly(i: Arrays) -> Arrays:
        one = {k: v[None] if k.startswith("noise") else v for k, v in i.items()}
        outputs, means = (models.reference_outputs(spec, one, draw) for draw in (0, None))
        return {"value": outputs, "means": means, "kl": models.reference_kl(spec, i)}

    def original_side(module: Any, i: dict[str, Any]) -> dict[str, Any]:
        model = models.original_model(module, spec, i)
        noise = [tuple(eps[None] for eps in pair) for pair in models.torch_noise(spec, i)]
        with original.fed_noise(noise, 1):
            outputs = model(i["x"])
        return {"value": outputs, "means": model(i["x"], sample=False), "kl": model.kl()}

    return Case(
        name,
        lambda dtype: draw_inputs(spec, seed),
        jax_side,
        torch_side,
        exactly if with_reference else None,
        wrt=(*spec.weight_names, "x"),
        original_side=original_side if spec.likelihood is None and spec.activation == "relu" else None,
    )


def kl_case(name: str, spec: Spec, seed: int = 0, *, with_reference: bool = True) -> Case:
    """Case of the KL of a network."""
    can = spec.likelihood is None and spec.prior_mu == 0.0 and spec.activation == "relu"
    return Case(
        name,
        lambda dtype: draw_inputs(spec, seed),
        lambda i: dj.kl_divergence(models.jax_model(spec, i)),
        lambda i: models.torch_model(spec, i).kl(),
        (lambda i: models.reference_kl(spec, i)) if with_reference else None,
        wrt=spec.weight_names,
        original_side=(lambda module, i: models.original_model(module, spec, i).kl()) if can else None,
    )


def reference_log_likelihood(spec: Spec, outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Compute the log-likelihood in 60 digits: [batch], nats per example."""
    if isinstance(spec.likelihood, dj.Categorical):
        return ref.log_softmax(outputs)[np.arange(len(y)), y]
    if not spec.predicts_noise:
        return ref.normal_log_prob(y, outputs, ref.exact(np.array(_NOISE_SIGMA))).sum(axis=-1)
    mean, raw = outputs[:, : spec.outputs], outputs[:, spec.outputs :]
    variance = ref.softplus(raw) + ref.mp.mpf(1e-6)
    return (-((y - mean) ** 2 / variance + ref.log(variance)) / 2 - ref.HALF_LOG_2PI).sum(axis=-1)


def reference_score(spec: Spec, outputs: np.ndarray, y: np.ndarray) -> Any:
    """Compute the documented criterion in 60 digits.

    For learned noise, the criterion leaves out log(2 pi) / 2 per target.
    """
    if isinstance(spec.likelihood, dj.UnknownNoise):
        return ((outputs - y) ** 2).mean()
    nll = -reference_log_likelihood(spec, outputs, y).mean()
    return nll - spec.outputs * ref.HALF_LOG_2PI if spec.predicts_noise else nll


def _reference_mean(spec: Spec, i: Arrays, draws: int, score: Callable) -> Any:
    outputs = [models.reference_outputs(spec, i, draw) for draw in range(draws)]
    return sum(score(o, i["y"]) for o in outputs) / draws


def _reference_nll(spec: Spec, i: Arrays, draws: int) -> Any:
    return _reference_mean(spec, i, draws, lambda o, y: -reference_log_likelihood(spec, o, y).mean())


def _negative_elbo_case(kind: str, draws: int) -> Case:
    """Case of the exact objective."""
    spec = SPECS[kind]
    torch_likelihood = ft.gaussian_log_likelihood(_NOISE_SIGMA) if kind.endswith("gaussian") else None
    common: dict[str, Any] = dict(num_data=_NUM_DATA, kl_weight=_KL_WEIGHT, mc_samples=draws)

    def jax_side(i: dict[str, Any]) -> dict[str, Any]:
        model, noise = models.jax_model(spec, i), models.jax_noise(spec, i)
        loss, terms = dj.negative_elbo(model, i["x"], i["y"], noise=noise, **common)
        return {"loss": loss, "nll": terms.nll, "kl": terms.kl}

    def torch_side(i: dict[str, Any]) -> dict[str, Any]:
        model, noise = models.torch_model(spec, i), models.torch_noise(spec, i)
        found = dt.negative_elbo(model, i["x"], i["y"], noise=noise, log_likelihood=torch_likelihood, **common)
        return dict(zip(("loss", "nll", "kl"), found, strict=True))

    def exactly(i: Arrays) -> dict[str, Any]:
        nll, kl = _reference_nll(spec, i, draws), models.reference_kl(spec, i)
        return {"loss": nll + ref.mp.mpf(_KL_WEIGHT) * kl / _NUM_DATA, "nll": nll, "kl": kl}

    return Case(
        f"negative_elbo {kind} mc_samples={draws}",
        lambda dtype: draw_inputs(spec, 10, draws),
        jax_side,
        torch_side,
        exactly,
        wrt=spec.weight_names,
        grad_of="loss",
    )


def _vi_elbo_step_case(kind: str, draws: int) -> Case:
    """Case of the documented objective with each side's default criterion."""
    spec = SPECS[kind]
    common: dict[str, Any] = dict(num_batches=_NUM_BATCHES, kl_weight=_KL_WEIGHT, mc_samples=draws)

    def jax_side(i: dict[str, Any]) -> dict[str, Any]:
        model, noise = models.jax_model(spec, i), models.jax_noise(spec, i)
        loss, terms = dj.vi_elbo_step(model, i["x"], i["y"], noise=noise, **common)
        return {"loss": loss, "nll": terms.nll, "kl": terms.kl}

    def torch_side(i: dict[str, Any]) -> dict[str, Any]:
        model, noise = models.torch_model(spec, i), models.torch_noise(spec, i)
        found = dt.vi_elbo_step(model, i["x"], i["y"], noise=noise, **common)
        return dict(zip(("loss", "nll", "kl"), found, strict=True))

    def exactly(i: Arrays) -> dict[str, Any]:
        nll = _reference_mean(spec, i, draws, lambda o, y: reference_score(spec, o, y))
        kl = models.reference_kl(spec, i) / _NUM_BATCHES
        return {"loss": nll + ref.mp.mpf(_KL_WEIGHT) * kl, "nll": nll, "kl": kl}

    def original_side(module: Any, i: dict[str, Any]) -> dict[str, Any]:
        model = models.original_model(module, spec, i)
        with original.fed_noise(models.torch_noise(spec, i), draws):
            found = module.vi_elbo_step(model, i["x"], i["y"], **common)
        return dict(zip(("loss", "nll", "kl"), found, strict=True))

    return Case(
        f"vi_elbo_step {kind} mc_samples={draws}",
        lambda dtype: draw_inputs(spec, 20, draws),
        jax_side,
        torch_side,
        exactly,
        wrt=spec.weight_names,
        grad_of="loss",
        original_side=original_side if kind == "categorical" else None,
    )


def _mean_squared_step_case(draws: int) -> Case:
    """Case of the documented objective with the caller's criterion."""
    spec = Spec()
    common: dict[str, Any] = dict(num_batches=_NUM_BATCHES, kl_weight=_KL_WEIGHT, mc_samples=draws)

    def jax_side(i: dict[str, Any]) -> dict[str, Any]:
        model, noise = models.jax_model(spec, i), models.jax_noise(spec, i)
        criterion = dj.functional.mean_squared_error
        loss, terms = dj.vi_elbo_step(model, i["x"], i["y"], criterion=criterion, noise=noise, **common)
        return {"loss": loss, "nll": terms.nll, "kl": terms.kl}

    def torch_side(i: dict[str, Any]) -> dict[str, Any]:
        model, noise, criterion = models.torch_model(spec, i), models.torch_noise(spec, i), torch.nn.MSELoss()
        found = dt.vi_elbo_step(model, i["x"], i["y"], criterion=criterion, noise=noise, **common)
        return dict(zip(("loss", "nll", "kl"), found, strict=True))

    def original_side(module: Any, i: dict[str, Any]) -> dict[str, Any]:
        model = models.original_model(module, spec, i)
        with original.fed_noise(models.torch_noise(spec, i), draws):
            found = module.vi_elbo_step(model, i["x"], i["y"], criterion=torch.nn.MSELoss(), **common)
        return dict(zip(("loss", "nll", "kl"), found, strict=True))

    return Case(
        f"vi_elbo_step own criterion mc_samples={draws}",
        lambda dtype: draw_inputs(spec, 30, draws),
        jax_side,
        torch_side,
        wrt=spec.weight_names,
        grad_of="loss",
        original_side=original_side,
    )


CASES = [
    forward_case("BayesianLinear", Spec(hidden=()), layer_alone=True),
    forward_case("MLP relu", Spec(hidden=(4, 3))),
    forward_case("MLP tanh, prior_mu", Spec(activation="tanh", prior_mu=-0.5, prior_sigma=1.0)),
    forward_case("MLP gelu", Spec(activation="gelu", prior_sigma=1.0)),
    forward_case("MLP silu", Spec(activation="silu", prior_sigma=1.0)),
    *[forward_case(f"model, {kind}", SPECS[kind]) for kind in _DOCUMENTED if kind != "categorical"],
    kl_case("MLP kl", Spec(hidden=(4, 3))),
    kl_case("MLP kl, prior_mu", Spec(prior_mu=-0.5, prior_sigma=1.0)),
    *[_negative_elbo_case(kind, draws) for kind in _EXACT for draws in (1, 5)],
    *[_vi_elbo_step_case(kind, draws) for kind in _DOCUMENTED for draws in (1, 5)],
    *[_mean_squared_step_case(draws) for draws in (1, 5)],
]
