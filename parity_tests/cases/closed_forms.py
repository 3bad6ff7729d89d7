"""Cases of the closed forms: sigma and its inverse, log sigma, a draw, log densities, the KL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import deepuq_jax as dj
import deepuq_torch as dt
from deepuq_jax import functional as fj
from deepuq_torch import functional as ft
from parity_tests import reference as ref
from parity_tests.harness import Arrays, Case
from parity_tests.tolerances import CONDITIONING_ULP

# The lowest rho whose exp(rho) is still a normal number of the dtype.
_LOWEST_RHO = {"float32": -87.0, "float64": -700.0}
_PRIOR = {"mu": -0.25, "sigma": 0.125}  # exact in binary, so that both dtypes and the reference have the same prior


def _rho(dtype: str) -> np.ndarray:
    """Values over the whole range; exp(rho) overflows at the largest."""
    body = np.linspace(-30.0, 30.0, 25)
    return np.concatenate([[_LOWEST_RHO[dtype], -50.0, -18.0, 0.0], body, [89.0, 200.0, 1000.0]])


def _posterior(dtype: str) -> Arrays:
    rng = np.random.default_rng(1)
    rho = np.linspace(-12.0, 4.0, 24)
    return {"mu": rng.normal(size=24), "rho": rho, "noise": rng.normal(size=24)}


def _near_prior(dtype: str) -> Arrays:
    """Scales and means near the prior's, and equal to them.

    The relative difference of the scales is from a half to a millionth, and 0 in the last entry.
    """
    off = 2.0 ** -np.arange(1.0, 21.0)
    sigma = _PRIOR["sigma"] * np.concatenate([1.0 + off, 1.0 - off, [1.0]])
    mu = _PRIOR["mu"] + 0.01 * np.concatenate([off, -off, [0.0]])
    return {"mu": mu, "rho": np.log(np.expm1(sigma))}


def _kl_conditioning(inputs: Arrays) -> Arrays:
    """Conditioning of the KL and of its slope in rho.

    These are the changes of both, in ulp of 1, if sigma changes by one ulp: with q = sigma / prior sigma, |q^2 - 1| and
    2 q^2 dlog(sigma) / drho. At q = 1, the KL is quadratic in the change of sigma. There, the square of
    `CONDITIONING_ULP` roundings is allowed.
    """
    eps = CONDITIONING_ULP * float(np.finfo(inputs["rho"].dtype).eps)
    rho = inputs["rho"].astype(np.float64)
    sigma = np.logaddexp(0.0, rho)
    square = (sigma / _PRIOR["sigma"]) ** 2
    # dlog(sigma) / drho = (1 - exp(-sigma)) / sigma, which tends to 1 as sigma underflows.
    slope = np.divide(-np.expm1(-sigma), sigma, out=np.ones_like(sigma), where=sigma > 0.0)
    return {"value": np.abs(square - 1.0) + eps, "d rho": 2.0 * square * slope}


def _original_posterior(module: Any, inputs: dict[str, Any]) -> Any:
    posterior = module.GaussianPosterior(inputs["rho"], inputs["rho"])
    posterior.mu, posterior.rho = inputs.get("mu", posterior.mu), inputs["rho"]
    return posterior


def _original_kl(module: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """Compute the KL entry by entry, with the original's `BayesianLinear.kl`.

    That method sums over weight and bias. A layer of a single weight and a bias, both set to the same entry, gives
    twice the KL of that entry, exactly. The original's priors have mean 0, so the means are shifted instead.
    """

    def of_entry(mu: torch.Tensor, rho: torch.Tensor) -> torch.Tensor:
        layer = module.BayesianLinear(1, 1, _PRIOR["sigma"])
        for posterior, shape in ((layer.weight_posterior, (1, 1)), (layer.bias_posterior, (1,))):
            del posterior.mu, posterior.rho  # A registered parameter cannot be replaced by a computed tensor.
            posterior.mu, posterior.rho = mu.reshape(shape), rho.reshape(shape)
        return layer.kl() / 2

    entries = zip(inputs["mu"] - _PRIOR["mu"], inputs["rho"], strict=True)
    return torch.stack([of_entry(mu, rho) for mu, rho in entries])


def _kl(name: str, inputs: Callable[[str], Arrays], fault: str) -> Case:
    prior = (_PRIOR["mu"], _PRIOR["sigma"])
    return Case(
        name,
        inputs,
        lambda i: fj.gaussian_kl(i["mu"], i["rho"], *prior),
        lambda i: ft.gaussian_kl(i["mu"], i["rho"], *prior),
        lambda i: ref.gaussian_kl(i["mu"], i["rho"], *map(ref.mp.mpf, prior)),
        wrt=("mu", "rho"),
        tolerance="KL",
        grad_tolerance="KL",
        conditioning=_kl_conditioning,
        original_side=_original_kl,
        fault=fault,
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
    """Scales of the same order, so that no term hides the others."""
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
    """Scales over the whole range."""
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
    _kl("gaussian_kl", _far, "2: sigma under- and overflows"),
    _kl("gaussian_kl near q = p", _near_prior, "3: the textbook KL cancels"),
]
