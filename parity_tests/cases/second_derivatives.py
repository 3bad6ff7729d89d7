"""Cases of the second derivatives of the KL.

The value of a case is the gradient of the KL, which the harness differentiates again. In torch the parameters are
`nn.Parameter`s, for which the package's hand-written gradient is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

import deepuq_jax as dj
from deepuq_jax import functional as fj
from deepuq_torch import functional as ft
from parity_tests import models
from parity_tests import reference as ref
from parity_tests.cases.objectives import draw_inputs
from parity_tests.harness import Arrays, Case
from parity_tests.models import Spec

_PRIOR = (-0.25, 0.125)  # exact in binary


def _posterior(dtype: str) -> Arrays:
    """Scales from a hundredth to ten times the prior's."""
    rho = np.append(np.linspace(-6.5, 1.0, 20), np.log(np.expm1(_PRIOR[1])))
    return {"mu": np.random.default_rng(7).normal(size=rho.size), "rho": rho}


def _jax_gradient(kl: Callable[[dict[str, Any]], Any], i: dict[str, Any], names: tuple[str, ...]) -> Any:
    gradients = jax.grad(lambda chosen: kl(i | chosen))({name: i[name] for name in names})
    return jnp.concatenate([gradients[name].ravel() for name in names])


def _torch_gradient(kl: torch.Tensor, parameters: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([gradient.flatten() for gradient in torch.autograd.grad(kl, parameters, create_graph=True)])


def _exact_gradient(i: Arrays, prefixes: list[str], prior_mu: float, prior_sigma: float) -> np.ndarray:
    """Compute the gradient of the summed KL in 60 digits.

    The KL is elementwise, so each entry is differentiated alone. For each prefix, the gradient by mu comes before that
    by rho.
    """
    prior = ref.mp.mpf(prior_mu), ref.mp.mpf(prior_sigma)
    parts = []
    for prefix in prefixes:
        mu, rho = i[f"{prefix}mu"], i[f"{prefix}rho"]
        by_mu = ref.slope(lambda moved, rho=rho: ref.gaussian_kl(moved, rho, *prior), mu)
        by_rho = ref.slope(lambda moved, mu=mu: ref.gaussian_kl(mu, moved, *prior), rho)
        parts += [by_mu.ravel(), by_rho.ravel()]
    return np.concatenate(parts)


def _of_the_function() -> Case:
    """Case of `gaussian_kl` itself."""
    names = ("mu", "rho")
    return Case(
        "gaussian_kl, second derivatives",
        _posterior,
        lambda i: _jax_gradient(lambda j: fj.gaussian_kl(j["mu"], j["rho"], *_PRIOR).sum(), i, names),
        lambda i: _torch_gradient(ft.gaussian_kl(i["mu"], i["rho"], *_PRIOR).sum(), [i[name] for name in names]),
        lambda i: _exact_gradient(i, [""], *_PRIOR),
        wrt=names,
    )


def _of_a_network(spec: Spec) -> Case:
    """Case of the KL of a model."""
    names = spec.posterior_names  # mu, rho; mu, rho; and so on
    prefixes = [name.removesuffix("mu") for name in names[::2]]
    return Case(
        "MLP kl, second derivatives",
        lambda dtype: draw_inputs(spec, 80),
        lambda i: _jax_gradient(lambda j: dj.kl_divergence(models.jax_model(spec, j)), i, names),
        lambda i: _torch_gradient(models.torch_model(spec, i).kl(), [i[name] for name in names]),
        lambda i: _exact_gradient(i, prefixes, spec.prior_mu, spec.prior_sigma),
        wrt=names,
    )


CASES = [_of_the_function(), _of_a_network(Spec(prior_mu=-0.5, prior_sigma=0.25))]
