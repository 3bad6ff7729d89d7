"""Sigma and its inverse, log sigma, a draw, log densities, and the KL."""

from __future__ import annotations

from typing import Any

import numpy as np

import deepuq_jax as dj
import deepuq_torch as dt
from deepuq_jax import functional as fj
from deepuq_torch import functional as ft
from parity_tests import reference as ref
from parity_tests.harness import Arrays, Case
from parity_tests.tolerances import CONDITIONING_ULP

# Where exp(rho) is still a normal number of the dtype, and above, where exp(rho) overflows.
_LOWEST_RHO = {"float32": -87.0, "float64": -700.0}
_PRIOR = {"mu": -0.25, "sigma": 0.125}  # exact in binary, so that both dtypes and the reference mean the same prior


def _rho(dtype: str) -> np.ndarray:
    body = np.linspace(-30.0, 30.0, 25)
    return np.concatenate([[_LOWEST_RHO[dtype], -50.0, -18.0, 0.0], body, [89.0, 200.0, 1000.0]])


def _posterior(dtype: str) -> Arrays:
    rng = np.random.default_rng(1)
    rho = np.linspace(-12.0, 4.0, 24)
    return {"mu": rng.normal(size=24), "rho": rho, "noise": rng.normal(size=24)}


def _near_prior(dtype: str) -> Arrays:
    """Scales from a factor of 2 to one part in a million from the prior's, and equal to it; means likewise."""
    off = 2.0 ** -np.arange(1.0, 21.0)
    sigma = _PRIOR["sigma"] * np.concatenate([1.0 + off, 1.0 - off, [1.0]])
    mu = _PRIOR["mu"] + 0.01 * np.concatenate([off, -off, [0.0]])
    return {"mu": mu, "rho": np.log(np.expm1(sigma))}


def _near_prior_conditioning(inputs: Arrays) -> Arrays:
    """With s = sigma / prior sigma, one ulp of s moves the KL by s^2 - 1 of it (and eps, where s is 1 itself: the KL is
    quadratic there), and d KL / d rho by 2 s^2 d log sigma / d rho."""
    eps = CONDITIONING_ULP * float(np.finfo(inputs["rho"].dtype).eps)
    rho = inputs["rho"].astype(np.float64)
    sigma = np.log1p(np.exp(rho))
    square = (sigma / _PRIOR["sigma"]) ** 2
    slope = -np.expm1(-sigma) / sigma  # d log sigma / d rho
    return {"value": np.abs(square - 1.0) + eps, "d rho": 2.0 * square * slope}


def _original_posterior(module: Any, inputs: dict[str, Any]) -> Any:
    posterior = module.GaussianPosterior(inputs["rho"], inputs["rho"])
    posterior.mu, posterior.rho = inputs.get("mu", posterior.mu), inputs["rho"]
    return posterior


def _original_kl(module: Any, inputs: dict[str, Any]) -> Any:
    """The original has no KL of its own posterior; a layer's is the sum over weight and bias, here entry by entry."""
    sigma, prior = _original_posterior(module, inputs).sigma, _PRIOR["sigma"]
    delta = inputs["mu"] - _PRIOR["mu"]
    return (prior / sigma).log() + (sigma**2 + delta**2) / (2 * prior**2) - 0.5


def _kl(name: str, inputs: Any, **more: Any) -> Case:
    prior = (_PRIOR["mu"], _PRIOR["sigma"])
    return Case(
        name,
        inputs,
        lambda i: fj.gaussian_kl(i["mu"], i["rho"], *prior),
        lambda i: ft.gaussian_kl(i["mu"], i["rho"], *prior),
        lambda i: ref.gaussian_kl(i["mu"], i["rho"], *map(ref.mp.mpf, prior)),
        wrt=("mu", "rho"),
        original_side=_original_kl,
        **more,
    )


_SIGMA = Case(
    "sigma_from_rho",
    lambda dtype: {"rho": _rho(dtype)},
    lambda i: fj.sigma_from_rho(i["rho"]),
    lambda i: ft.sigma_from_rho(i["rho"]),
    lambda i: ref.softplus(i["rho"]),
    wrt=("rho",),
    tolerance="closed form",
    grad_tolerance="closed form",
    original_side=lambda module, i: _original_posterior(module, i).sigma,
    fault="2: log(1 + exp(rho)) overflows",
)

_RHO = Case(
    "rho_from_sigma",
    lambda dtype: {"sigma": np.geomspace(1e-30, 1e3, 40)},
    lambda i: fj.rho_from_sigma(i["sigma"]),
    lambda i: ft.rho_from_sigma(i["sigma"]),
    lambda i: ref.rho_from_sigma(i["sigma"]),
    wrt=("sigma",),
    tolerance="logarithm",
    grad_tolerance="closed form",
)

_LOG_SIGMA = Case(
    "log_sigma",
    lambda dtype: {"rho": np.concatenate([_rho(dtype), [-1000.0, -3e4]])},
    lambda i: fj.log_sigma(i["rho"]),
    lambda i: ft.log_sigma(i["rho"]),
    lambda i: ref.log_sigma(i["rho"]),
    wrt=("rho",),
    tolerance="logarithm",
    grad_tolerance="closed form",
    original_side=lambda module, i: _original_posterior(module, i).sigma.log(),
    fault="2: log(1 + exp(rho)) overflows and underflows",
)

_REPARAMETERIZE = Case(
    "reparameterize",
    _posterior,
    lambda i: fj.reparameterize(i["mu"], fj.sigma_from_rho(i["rho"]), i["noise"]),
    lambda i: ft.reparameterize(i["mu"], i["rho"], i["noise"]),
    lambda i: i["mu"] + ref.softplus(i["rho"]) * i["noise"],
    wrt=("mu", "rho"),
)


def _points(dtype: str) -> Arrays:
    """Scales of one order, so that no term of the sum hides the others."""
    rng = np.random.default_rng(3)
    return {"mu": rng.normal(size=24), "rho": np.linspace(-1.5, 0.5, 24), "w": rng.normal(size=24)}


def _original_log_prob(module: Any, inputs: dict[str, Any]) -> Any:
    return _original_posterior(module, inputs).log_prob(inputs["w"])


_LOG_PROB = Case(
    "GaussianPosterior.log_prob",
    _points,
    lambda i: dj.GaussianPosterior(i["mu"], i["rho"]).log_prob(i["w"]),
    lambda i: ft.gaussian_log_prob(i["w"], i["mu"], i["rho"]).sum(),
    lambda i: ref.normal_log_prob(i["w"], i["mu"], ref.softplus(i["rho"])).sum(),
    wrt=("mu", "rho", "w"),
    original_side=_original_log_prob,
)

_ELEMENT_LOG_PROB = Case(
    "gaussian_log_prob by entry",
    lambda dtype: {"x": np.linspace(-3.0, 3.0, 31), "mu": np.full(31, 0.5), "rho": np.linspace(-6.0, 6.0, 31)},
    lambda i: fj.gaussian_log_prob(i["x"], i["mu"], fj.sigma_from_rho(i["rho"]), fj.log_sigma(i["rho"])),
    lambda i: ft.gaussian_log_prob(i["x"], i["mu"], i["rho"]),
    lambda i: ref.normal_log_prob(i["x"], i["mu"], ref.softplus(i["rho"])),
    wrt=("x", "mu", "rho"),
    tolerance="logarithm",
    grad_tolerance="sum",
)

_PRIOR_LOG_PROB = Case(
    "GaussianPrior.log_prob",
    lambda dtype: {"w": np.random.default_rng(2).normal(size=(4, 5))},
    lambda i: dj.GaussianPrior(**_PRIOR).log_prob(i["w"]),
    lambda i: dt.GaussianPrior(**_PRIOR).log_prob(i["w"]),
    lambda i: ref.normal_log_prob(i["w"], ref.mp.mpf(_PRIOR["mu"]), ref.mp.mpf(_PRIOR["sigma"])).sum(),
    wrt=("w",),
    original_side=lambda module, i: module.GaussianPrior(**_PRIOR).log_prob(i["w"]),
)


def _far(dtype: str) -> Arrays:
    rho = np.concatenate([[-1000.0, _LOWEST_RHO[dtype], -50.0], np.linspace(-20.0, 20.0, 21), [60.0, 90.0]])
    return {"mu": np.linspace(-3.0, 3.0, rho.size), "rho": rho}


CASES = [
    _SIGMA,
    _RHO,
    _LOG_SIGMA,
    _REPARAMETERIZE,
    _LOG_PROB,
    _ELEMENT_LOG_PROB,
    _PRIOR_LOG_PROB,
    _kl(
        "gaussian_kl",
        _far,
        tolerance="closed form",
        grad_tolerance="closed form",
        fault="2: sigma under- and overflows",
    ),
    _kl(
        "gaussian_kl near q = p",
        _near_prior,
        tolerance="near prior",
        grad_tolerance="near prior",
        conditioning=_near_prior_conditioning,
        fault="3: the textbook KL cancels",
    ),
]
